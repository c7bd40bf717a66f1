"""One turn of the loop, stage by stage. Each stage is a run or a stage on disk with links to what it was made from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from genrm_rl.alignment.job import run_alignment
from genrm_rl.bootstrap.loop import run_bootstrap
from genrm_rl.closed_loop.judges import LoopJudge, judge_of_run, pass_gate
from genrm_rl.closed_loop.preferences import label, new_comparisons, pairs_file
from genrm_rl.closed_loop.settings import align_settings, bootstrap_settings, next_judge_settings
from genrm_rl.closed_loop.workbench import Workbench
from genrm_rl.config import RunConfig
from genrm_rl.learners.checkpoint import weights_hash
from genrm_rl.rollout.shared_pool import shared_engines
from genrm_rl.runtime.storage import read_manifest, write_json

FIRST = "turn1/bootstrap"  # the run of the first judges


def run_turn(bench: Workbench, turn: int) -> bool:
    """Go through a turn, or on with it. False if it waits for a person."""
    judge = first_judge(bench) if turn == 1 else served_after(bench, turn - 1)
    with shared_engines():  # of the policy
        say_stage(bench, turn, f"align the policy with judge {judge.version}")
        policy = align(bench, turn, judge, aligned_in(bench, turn - 1))
        say_stage(bench, turn, "new comparisons from the aligned policy")
        comparisons = new_comparisons(bench, turn, policy)
    with shared_engines():  # of the judges
        say_stage(bench, turn, f"label them ({bench.config.labels.source})")
        labelled = label(bench, turn, judge, comparisons)
        if labelled is None:
            return False
        candidate = None
        if labelled["labelled"]:
            say_stage(bench, turn, "train the next judge on the first pairs and the new ones")
            candidate = next_judge(bench, turn)
        else:
            bench.say("no comparison got a label, so there is nothing new to learn from and the judge stays")
    gate(bench, turn, judge, candidate)
    return True


def first_judge(bench: Workbench) -> LoopJudge:
    """The judge that the first bootstrap promoted."""
    say_stage(bench, 1, "bootstrap a judge")
    settings = bootstrap_settings(bench.config, bench.root, FIRST)
    return _trained_judge(bench, FIRST, settings, {"model": bench.config.judge.model.name})


def next_judge(bench: Workbench, turn: int) -> LoopJudge:
    """The judge that a bootstrap from the base model promotes on the union of all pairs."""
    run = f"turn{turn}/judge"
    facts = {number: labels_of(bench, number) for number in range(1, turn + 1)}
    files = {f"turn {number}": pairs_file(number) for number, found in facts.items() if found["labelled"]}
    reasons = [f"turn {number}" for number, found in facts.items() if found.get("reasons")]
    settings = next_judge_settings(bench.config, bench.root, run, files, reasons)
    if not bench.run.done(record_of(run)):
        offer_traces(bench.root / FIRST, bench.root / run)
    parents = {"model": bench.config.judge.model.name, "pairs": [f"{FIRST}/data.json", *files.values()]}
    return _trained_judge(bench, run, settings, parents)


def _trained_judge(bench: Workbench, run: str, settings: RunConfig, parents: dict[str, Any]) -> LoopJudge:
    def compute(directory: Path) -> dict[str, Any]:
        run_bootstrap(settings, bench.console, brief=True)
        judge = judge_of_run(bench.root, run, bench.config.method)
        return {"run": run, "judge": judge.as_dict(), "weights": _weights(bench, judge.checkpoint), "parents": parents}

    return LoopJudge(**bench.stage(record_of(run), compute)["judge"])


def offer_traces(source: Path, run: Path) -> None:
    """Put what the base model said in ``source`` where ``run`` looks for finished traces: the same requests, with the
    same seeds, need not be sampled again."""
    for pattern in ("traces/base-*/traces.parquet", "gate/base/traces/traces.parquet"):
        for file in source.glob(pattern):
            folder = run / "work" / file.parent.relative_to(source)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / "part-offered.parquet")


def align(bench: Workbench, turn: int, judge: LoopJudge, start: str | None) -> str:
    """Align from the policy of the turn before (None: the starting policy); returns the new policy's directory."""
    run = f"turn{turn}/align"
    settings = align_settings(bench.config, bench.root, run, turn, judge, start)

    def compute(directory: Path) -> dict[str, Any]:
        begun = (bench.root / run / "steps").is_dir()
        run_alignment(settings, bench.console, rejudge=bench.rejudge and begun)
        policy = f"{run}/policy"
        parents = {"judge": judge.as_dict(), "policy": start or bench.config.policy.model.name}
        version = read_manifest(bench.root / policy)["version"]
        facts = {"run": run, "policy": policy, "version": version, "parents": parents}
        return facts | {"weights": _weights(bench, policy)}

    return bench.stage(record_of(run), compute)["policy"]


def gate(bench: Workbench, turn: int, judge: LoopJudge, candidate: LoopJudge | None) -> None:
    """Decide which judge is served from now on: the new one only if it beats the current one on the gate pairs."""

    def compute(directory: Path) -> dict[str, Any]:
        parents = {"current": judge.as_dict(), "candidate": candidate and candidate.as_dict()}
        if candidate is None or candidate.checkpoint is None:
            why = "nothing new was labelled" if candidate is None else "its own bootstrap did not promote the new judge"
            return {"promoted": False, "reason": why, "served": judge.as_dict(), "parents": parents}
        decision = pass_gate(bench.root, judge, candidate, bootstrap_settings(bench.config, bench.root, candidate.run))
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
            "probe_gate": candidate.probe_words(bench.root)[1],
            "served": served.as_dict(),
            "parents": parents,
        }

    facts = bench.stage(f"turn{turn}/stages/gate", compute)
    bench.say(
        f"gate of turn {turn}: {'the new judge is served' if facts['promoted'] else 'the current judge stays'}: "
        f"{facts['reason']}"
    )
    if facts["promoted"]:
        bench.say(facts["probe_gate"])


def served_after(bench: Workbench, turn: int) -> LoopJudge:
    """The judge that is served after a finished turn."""
    return LoopJudge(**bench.run.manifest(f"turn{turn}/stages/gate")["served"])


def aligned_in(bench: Workbench, turn: int) -> str | None:
    """The policy that a turn aligned; None before the first."""
    return bench.run.manifest(f"turn{turn}/stages/align")["policy"] if turn else None


def labels_of(bench: Workbench, turn: int) -> dict[str, Any]:
    """What the labelling of a turn came to."""
    return bench.run.manifest(f"turn{turn}/preferences/labels")


def say_stage(bench: Workbench, turn: int, what: str) -> None:
    """A line that says where the loop is."""
    bench.say(f"== turn {turn} of {bench.config.turns}: {what}")


def record_of(run: str) -> str:
    """The stage that records what a run of the loop came to: ``turn1/align`` has ``turn1/stages/align``."""
    turn, _, name = run.partition("/")
    return f"{turn}/stages/{name}"


def _weights(bench: Workbench, checkpoint: str | None) -> str | None:
    return None if checkpoint is None else weights_hash(bench.root / checkpoint)
