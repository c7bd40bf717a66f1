"""The stages of a turn, in the order of ``stories/close_loop.py``: each is a run or a stage on disk, with links to what
it was made from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.closed_loop.judges import LoopJudge, judge_of_run, pass_gate
from genrm_rl.closed_loop.preferences import pairs_file
from genrm_rl.closed_loop.settings import align_settings, bootstrap_settings, next_judge_settings
from genrm_rl.config import RunConfig
from genrm_rl.learners.checkpoint import weights_hash
from genrm_rl.runtime.console import say_whole
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import read_manifest, write_json

FIRST = "turn1/bootstrap"  # the run of the first judges
Bootstrap = Callable[[RunConfig], object]  # runs or continues a job
Alignment = Callable[..., object]  # the same; `rejudge` asks again for lost rewards


def first_judge(run: RunDirectory, bootstrap: Bootstrap) -> LoopJudge:
    """The judge that the first bootstrap promoted."""
    settings = bootstrap_settings(run.config, run.path, FIRST)
    return _trained_judge(run, FIRST, settings, bootstrap, {"model": run.config.judge.model.name})


def next_judge(run: RunDirectory, turn: int, bootstrap: Bootstrap) -> LoopJudge:
    """The judge that a bootstrap from the base model promotes on the union of all pairs."""
    name = f"turn{turn}/judge"
    facts = {number: labels_of(run, number) for number in range(1, turn + 1)}
    files = {f"turn {number}": pairs_file(number) for number, found in facts.items() if found["labelled"]}
    reasons = [f"turn {number}" for number, found in facts.items() if found.get("reasons")]
    settings = next_judge_settings(run.config, run.path, name, files, reasons)
    if not run.done(record_of(name)):
        offer_traces(run.path / FIRST, run.path / name)
    parents = {"model": run.config.judge.model.name, "pairs": [f"{FIRST}/data.json", *files.values()]}
    return _trained_judge(run, name, settings, bootstrap, parents)


def _trained_judge(
    run: RunDirectory, name: str, settings: RunConfig, bootstrap: Bootstrap, parents: dict[str, Any]
) -> LoopJudge:
    def compute(directory: Path) -> dict[str, Any]:
        bootstrap(settings)
        judge = judge_of_run(run.path, name, run.config.method)
        weights = None if judge.checkpoint is None else weights_hash(run.path / judge.checkpoint)
        return {"run": name, "judge": judge.as_dict(), "weights": weights, "parents": parents}

    return LoopJudge(**run.stage_facts(record_of(name), compute)["judge"])


def offer_traces(source: Path, run: Path) -> None:
    """Put what the base model said in ``source`` where ``run`` looks for finished traces: the same requests, with the
    same seeds, need not be sampled again."""
    for pattern in ("traces/base-*/traces.parquet", "gate/base/traces/traces.parquet"):
        for file in source.glob(pattern):
            folder = run / "work" / file.parent.relative_to(source)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / "part-offered.parquet")


def align(
    run: RunDirectory, turn: int, judge: LoopJudge, start: str | None, alignment: Alignment, *, rejudge: bool
) -> str:
    """Align from the policy of the turn before (None: the starting policy); returns the new policy's directory.
    ``rejudge``: an alignment under way asks again for rewards that it lost."""
    name = f"turn{turn}/align"
    settings = align_settings(run.config, run.path, name, turn, judge, start)

    def compute(directory: Path) -> dict[str, Any]:
        begun = (run.path / name / "steps").is_dir()
        alignment(settings, rejudge=rejudge and begun)
        policy = f"{name}/policy"
        parents = {"judge": judge.as_dict(), "policy": start or run.config.policy.model.name}
        version = read_manifest(run.path / policy)["version"]
        facts = {"run": name, "policy": policy, "version": version, "parents": parents}
        return facts | {"weights": weights_hash(run.path / policy)}

    return run.stage_facts(record_of(name), compute)["policy"]


def gate(run: RunDirectory, turn: int, judge: LoopJudge, candidate: LoopJudge | None, console: Console) -> None:
    """Decide which judge is served from now on: the new one only if it beats the current one on the gate pairs."""

    def compute(directory: Path) -> dict[str, Any]:
        parents = {"current": judge.as_dict(), "candidate": candidate and candidate.as_dict()}
        if candidate is None or candidate.checkpoint is None:
            why = "nothing new was labelled" if candidate is None else "its own bootstrap did not promote the new judge"
            return {"promoted": False, "reason": why, "served": judge.as_dict(), "parents": parents}
        decision = pass_gate(run.path, judge, candidate, bootstrap_settings(run.config, run.path, candidate.run))
        write_json(directory / "current.json", decision.parent.model_dump(mode="json"))
        write_json(directory / "candidate.json", decision.candidate.model_dump(mode="json"))
        served = candidate if decision.promoted else judge
        return {
            "promoted": decision.promoted,
            "reason": decision.reason,
            "accuracy": [decision.parent.accuracy_strict, decision.candidate.accuracy_strict],
            "ci95": [list(decision.parent.ci95), list(decision.candidate.ci95)],
            "difference": decision.difference.difference,
            "difference_ci95": list(decision.difference.ci95),
            "pairs": decision.candidate.n,
            "probe_gate": candidate.probe_words(run.path)[1],
            "served": served.as_dict(),
            "parents": parents,
        }

    facts = run.stage_facts(f"turn{turn}/stages/gate", compute)
    say_whole(
        console,
        f"gate of turn {turn}: {'the new judge is served' if facts['promoted'] else 'the current judge stays'}: "
        f"{facts['reason']}",
    )
    if facts["promoted"]:
        say_whole(console, facts["probe_gate"])


def served_after(run: RunDirectory, turn: int) -> LoopJudge:
    """The judge that is served after a finished turn."""
    return LoopJudge(**run.manifest(f"turn{turn}/stages/gate")["served"])


def aligned_in(run: RunDirectory, turn: int) -> str | None:
    """The policy that a turn aligned; None before the first."""
    return run.manifest(f"turn{turn}/stages/align")["policy"] if turn else None


def labels_of(run: RunDirectory, turn: int) -> dict[str, Any]:
    """What the labelling of a turn came to."""
    return run.manifest(f"turn{turn}/preferences/labels")


def record_of(run: str) -> str:
    """The stage that records what a run of the loop came to: ``turn1/align`` has ``turn1/stages/align``."""
    turn, _, name = run.partition("/")
    return f"{turn}/stages/{name}"
