"""The settings of the jobs that a loop drives, derived from the loop's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from genrm_rl.closed_loop.judges import LoopJudge
from genrm_rl.config import RunConfig, RunSettings, SourceConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.data import ColumnMap
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.serving import ServeConfig


def bootstrap_settings(config: LoopConfig, root: Path, run: str) -> RunConfig:
    """The first judges: `judge` as it is. All judges of a loop share the seed, hence gate and test pairs."""
    return config.judge.model_copy(update=_identity(config, config.judge, root, run, config.run.seed))


def next_judge_settings(
    config: LoopConfig, root: Path, run: str, pairs: Mapping[str, str], reasons: Collection[str] = ()
) -> RunConfig:
    """The next judge: ``method`` alone, from the base model, on the first pairs and all new ones (file by name).
    ``reasons``: the names of those files that have people's reasons too."""
    columns = ColumnMap(rubric="rubric", known_answer="known_answer")
    files = {name: str((root / file).resolve()) for name, file in pairs.items()}
    new = [
        SourceConfig(name=name, path=file, columns=columns, rationales=file if name in reasons else None)
        for name, file in files.items()
    ]
    data = config.judge.data.model_copy(update={"train": (*config.judge.data.train, *new)})
    bootstrap = config.judge.bootstrap.model_copy(update={"methods": (config.method,)})
    return bootstrap_settings(config, root, run).model_copy(update={"data": data, "bootstrap": bootstrap})


def align_settings(
    config: LoopConfig, root: Path, run: str, turn: int, judge: LoopJudge, policy: str | None
) -> AlignConfig:
    """An alignment with ``judge``, from ``policy`` (a directory below the loop's; None: the starting policy)."""
    model = config.policy.model
    if policy is not None:
        model = model.model_copy(update={"name": str((root / policy).resolve()), "revision": None})
    return config.policy.model_copy(
        update=_identity(config, config.policy, root, run, turn_seed(config, turn))
        | {
            "model": model,
            "judge_model": config.judge.model,
            "judge": config.judge.judge,
            "serving": config.policy.serving.model_copy(update={"checkpoint": judge.serving(root)}),
        }
    )


def serve_settings(config: LoopConfig, root: Path, judge: LoopJudge) -> ServeConfig:
    """The service of ``judge``."""
    serving = config.policy.serving.model_copy(update={"checkpoint": judge.serving(root)})
    return ServeConfig(
        model=config.judge.model,
        judge=config.judge.judge,
        rollout=config.policy.judge_rollout,
        serving=serving,
        seed=config.run.seed,
    )


def turn_seed(config: LoopConfig, turn: int) -> int:
    """The seed of a turn's alignment and comparisons, so that it draws other questions than the turn before. Judges
    share the loop's own, hence gate and test pairs."""
    return config.run.seed + turn - 1


def _identity(config: LoopConfig, job: RunConfig | AlignConfig, root: Path, run: str, seed: int) -> dict[str, Any]:
    """Where a job of the loop lives, and how tracking services tell it from those of other loops."""
    folder = (root / run).resolve()
    name = f"{config.run.id}-{run.replace('/', '-')}"
    return {
        "run": RunSettings(id=folder.name, root=str(folder.parent), seed=seed),
        "tracking": job.tracking.model_copy(update={"run_name": name}),
    }
