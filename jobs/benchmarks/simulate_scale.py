"""What one driver adds to a PPO step as engines grow from 1 to 512: the real loop over engines that only sleep.

    python jobs/benchmarks/simulate_scale.py --root runs/scale
    python jobs/benchmarks/simulate_scale.py --root runs/scale --overlap 2    # in turns, against overlapped

Every engine has 32 answers a step, or 8 x --groups (weak scaling). Seconds of generating, judging, training and
publishing are those of the time model for an 8B policy and judge on H100s (jobs/configs/align_llama8b.yaml with
placement/presets/four_nodes_llama8b.yaml), lengths are log-normal. The driver's work is real and happens on this
machine. Writes scale.json, scale.md and scale.svg into --root.

With --overlap, 24 and 64 engines have 256 answers each, whose lengths have a long tail, and every size is run twice:
with ppo.staleness 0, and with the given one. Writes overlap.json and overlap.md.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.simulation.scale import StepCost, check_records, simulate
from genrm_rl.simulation.tables import curve, overlap_table, table
from genrm_rl.simulation.workload import UNIT_ENGINES, Workload, long_tailed, workload_of

ROOT = Path(__file__).resolve().parents[2]
PLANNED = (ROOT / "jobs/configs/align_llama8b.yaml", ROOT / "placement/presets/four_nodes_llama8b.yaml")
SAMPLES = 8  # of a group
# Of the runs with a tail, which would sleep for hours otherwise: questions of 384 tokens, answers of 128 on average.
SHORTER = ("--sampling.max-tokens", "256", "--model.max-context", "1024")


def main() -> None:
    """Simulate every size, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/scale"), help="folder of the runs and tables")
    parser.add_argument("--engines", type=int, nargs="+", help="sizes; 1 8 64 256 512, with --overlap 24 64")
    parser.add_argument("--steps", type=int, default=3, help="PPO steps of each size; the first warms up")
    parser.add_argument("--groups", type=int, help="questions of a step for every engine, 8 answers each; 4, or 32")
    parser.add_argument("--overlap", type=int, default=0, metavar="N", help="compare ppo.staleness 0 with N")
    parser.add_argument("--seed", type=int, default=0, help="of the questions and the lengths")
    arguments = parser.parse_args()
    if arguments.overlap:
        compare_overlap(arguments)
    else:
        grow(arguments)


def grow(arguments: argparse.Namespace) -> None:
    """Every size once."""
    workload = planned_workload(arguments.groups or 4)
    sizes = arguments.engines or [1, 8, 64, 256, 512]
    costs = {engines: run(arguments, engines, workload) for engines in sizes}
    facts = described(arguments, workload) | {"steps": as_rows(costs)}
    write_json(arguments.root / "scale.json", facts)
    show(arguments.root / "scale.md", table(costs, workload, place()))
    write_atomic(arguments.root / "scale.svg", curve(costs))


def compare_overlap(arguments: argparse.Namespace) -> None:
    """Every size without and with overlap, on long-tailed lengths."""
    workload = long_tailed(planned_workload(arguments.groups or 32, *SHORTER))
    synchronous, overlapped = {}, {}
    for engines in arguments.engines or [24, 64]:
        synchronous[engines] = run(arguments, engines, workload)
        overlapped[engines] = run(arguments, engines, workload, arguments.overlap)
    facts = described(arguments, workload) | {"staleness": arguments.overlap}
    rows = {"synchronous": as_rows(synchronous), "overlapped": as_rows(overlapped)}
    write_json(arguments.root / "overlap.json", facts | rows)
    text = overlap_table(synchronous, overlapped, arguments.overlap, workload, place())
    show(arguments.root / "overlap.md", text)


def run(arguments: argparse.Namespace, engines: int, workload: Workload, staleness: int = 0) -> list[StepCost]:
    """One size. Overlapped runs are longer: their first and last steps are not those of a long run."""
    console = Console()
    config = simulated_config(arguments, engines, workload, staleness)
    shutil.rmtree(Path(config.run.root) / config.run.id, ignore_errors=True)
    with ray_session(cpus=8):
        costs = simulate(config, workload, console)
    answers = check_records(Path(config.run.root) / config.run.id, config)
    console.print(f"{engines} engines: {answers:,} answers on disk, each once and rewarded")
    return costs


def place() -> str:
    """The machine, for a table."""
    return f"{machine()['cpu']}, {machine()['cores']} cores"


def described(arguments: argparse.Namespace, workload: Workload) -> dict[str, Any]:
    """What was measured where."""
    return {"machine": machine(), "versions": versions(), "workload": asdict(workload), "seed": arguments.seed}


def as_rows(costs: Mapping[int, Sequence[StepCost]]) -> dict[str, list[dict[str, Any]]]:
    """Steps by size, for JSON."""
    return {str(engines): [asdict(cost) for cost in found] for engines, found in costs.items()}


def show(path: Path, text: str) -> None:
    """A table on disk and on the screen."""
    write_atomic(path, text)
    Console().print(text, markup=False, highlight=False)


def planned_workload(groups: int, *changes: str) -> Workload:
    """Seconds of the 8B plan, with ``groups`` questions to an engine, and with ``changes`` of its settings."""
    words = [*changes, "--ppo.prompts-per-step", str(groups * UNIT_ENGINES), "--ppo.samples-per-prompt", str(SAMPLES)]
    return workload_of(load_config(AlignConfig, PLANNED, [*words, "--rollout.weight-backend", "nccl"]))


def simulated_config(
    arguments: argparse.Namespace, engines: int, workload: Workload, staleness: int = 0
) -> AlignConfig:
    """The loop's settings for ``engines`` engines; the model gives the tokenizer and nothing else."""
    words = {
        "run.root": arguments.root,
        "run.id": f"engines{engines}" + (f"-ahead{staleness}" if staleness else ""),
        "run.seed": arguments.seed,
        "model.max-context": 2 * workload.max_tokens,
        "sampling.max-tokens": workload.max_tokens,
        "rollout.engines": engines,
        "rollout.cpus-per-engine": 0.01,
        "rollout.max-in-flight": workload.groups * SAMPLES,
        "reward.max-in-flight": max(16, engines * workload.groups * (staleness + 1)),
        "ppo.steps": arguments.steps + 3 * staleness,
        "ppo.staleness": staleness,
        "ppo.prompts-per-step": engines * workload.groups,
        "ppo.samples-per-prompt": SAMPLES,
        "checkpoint-every": 1,
    }
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    return load_config(AlignConfig, ROOT / "jobs/configs/align_tiny.yaml", given)


if __name__ == "__main__":
    main()
