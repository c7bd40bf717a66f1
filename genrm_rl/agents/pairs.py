"""What judges of agents learn from: pairs of episodes, and marked episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.agents.collect import told_episodes
from genrm_rl.agents.fitting import EXAMPLES_FILE, supervised_fit
from genrm_rl.agents.step_judge import marking_examples
from genrm_rl.agents.trajectories import trajectory_pairs
from genrm_rl.algorithms.openrlhf_adapter import check_openrlhf
from genrm_rl.config.agents import AgentConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.requests import derive_seed
from genrm_rl.learners.examples import write_examples
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_json_lines


def keep_pairs(
    config: AgentConfig,
    runs: list[Path],
    out: Path,
    *,
    most: int,
    margin: float,
    held_out: float,
    console: Console,
) -> None:
    """A preference file of the pairs of ``runs``, and with ``held_out`` a second one beside it (``NAME_test``) of that
    share of the tasks. Tasks of the validation and test splits are in neither. Raises DataError if there are none."""
    steps = told_episodes(runs, config)
    pairs = [
        pair
        for episodes in steps
        for pair in trajectory_pairs(episodes, seed=config.run.seed, most=most, margin=margin)
    ]
    total = sum(map(len, steps))
    if not pairs:
        raise DataError(
            f"{total} episodes with a told outcome make no pair: no two of one task differ by {margin} in success plus "
            "score; lower --margin, or play more episodes of each task (ppo.samples_per_prompt)"
        )
    line = round(held_out * 2**31)
    files: dict[Path, list[dict[str, Any]]] = {out: []} | ({out.with_stem(f"{out.stem}_test"): []} if held_out else {})
    train, *test = files.values()
    for pair in pairs:
        (test[0] if derive_seed(config.run.seed, "held out", pair["task"]) < line else train).append(pair)
    for file, rows in files.items():
        write_json_lines(file, rows)  # as `genrm-rl bootstrap` reads it (docs/data.md)
        console.print(f"{file}: {len(rows)} pairs of {len({row['task'] for row in rows})} tasks", highlight=False)


def train_step_judge(config: AgentConfig, runs: list[Path], console: Console) -> Path:
    """A step judge from ``model.name``, trained on the marks that follow from the outcomes of ``runs``; returns its
    checkpoint. Raises DataError if no episode has a step that matters."""
    check_openrlhf()
    steps = told_episodes(runs, config)
    base = resolve_model(config.model).path
    with RunDirectory(config) as run:
        run.claim()

        def keep(folder: Path) -> dict[str, Any]:
            chat = ChatEncoder(load_tokenizer(base))
            settings = {"threshold": config.step_judge.threshold, "max_context": config.model.max_context}
            examples = [example for episodes in steps for example in marking_examples(episodes, chat, **settings)]
            if not examples:
                raise DataError(
                    f"in {sum(map(len, steps))} episodes no step changed the score by more than "
                    f"{settings['threshold']}; lower step_judge.threshold, or play more episodes of each task"
                )
            write_examples(folder / EXAMPLES_FILE, examples)
            console.print(f"{len(examples)} marked episodes", highlight=False)
            return {"examples": len(examples)}

        examples = run.stage("marked", keep)
        fit = config.step_judge.fit
        supervised_fit(config, run, fit, base, examples, output="judge", name="step judge")
    output = run.path / "judge"
    console.print(f"step judge: {output}", highlight=False)
    return output
