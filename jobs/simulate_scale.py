"""What one driver adds to a PPO step as engines grow from 1 to 512: the real loop over engines that only sleep.

    python jobs/simulate_scale.py --root runs/scale

Every engine has 32 answers a step, or 8 x --groups (weak scaling). Seconds of generating, judging, training and
publishing are those of the time model for an 8B policy and judge on H100s (jobs/configs/align_llama8b.yaml with
placement/presets/four_nodes_llama8b.yaml), lengths are log-normal. The driver's work is real and happens on this
machine. Writes scale.json, scale.md and scale.svg into --root.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.run_directory import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.simulation.scale import StepCost, check_records, simulate
from genrm_rl.simulation.tables import curve, table
from genrm_rl.simulation.workload import UNIT_ENGINES, Workload, workload_of

ROOT = Path(__file__).resolve().parents[1]
PLANNED = (ROOT / "jobs/configs/align_llama8b.yaml", ROOT / "placement/presets/four_nodes_llama8b.yaml")
SAMPLES = 8  # of a group


def main() -> None:
    """Simulate every size, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/scale"), help="folder of the runs and tables")
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 8, 64, 256, 512], help="sizes")
    parser.add_argument("--steps", type=int, default=3, help="PPO steps of each size; the first warms up")
    parser.add_argument("--groups", type=int, default=4, help="questions of a step for every engine, 8 answers each")
    parser.add_argument("--seed", type=int, default=0, help="of the questions and the lengths")
    arguments = parser.parse_args()
    console = Console()
    workload = planned_workload(arguments.groups)
    costs: dict[int, list[StepCost]] = {}
    for engines in arguments.engines:
        config = simulated_config(arguments, engines, workload)
        shutil.rmtree(Path(config.run.root) / config.run.id, ignore_errors=True)
        with ray_session(cpus=8):
            costs[engines] = simulate(config, workload, console)
        answers = check_records(Path(config.run.root) / config.run.id, config)
        console.print(f"{engines} engines: {answers:,} answers on disk, each once and rewarded")
    where = machine()
    rows = {str(n): [asdict(cost) for cost in found] for n, found in costs.items()}
    facts = {"machine": where, "versions": versions(), "workload": asdict(workload), "seed": arguments.seed}
    write_json(arguments.root / "scale.json", facts | {"steps": rows})
    text = table(costs, workload, f"{where['cpu']}, {where['cores']} cores")
    write_atomic(arguments.root / "scale.md", text)
    write_atomic(arguments.root / "scale.svg", curve(costs))
    console.print(text, markup=False, highlight=False)


def planned_workload(groups: int) -> Workload:
    """Seconds of the 8B plan, with ``groups`` questions to an engine."""
    words = ["--ppo.prompts-per-step", str(groups * UNIT_ENGINES), "--ppo.samples-per-prompt", str(SAMPLES)]
    return workload_of(load_config(AlignConfig, PLANNED, [*words, "--rollout.weight-backend", "nccl"]))


def simulated_config(arguments: argparse.Namespace, engines: int, workload: Workload) -> AlignConfig:
    """The loop's settings for ``engines`` engines; the model gives the tokenizer and nothing else."""
    words = {
        "run.root": arguments.root,
        "run.id": f"engines{engines}",
        "run.seed": arguments.seed,
        "model.max-context": 2 * workload.max_tokens,
        "sampling.max-tokens": workload.max_tokens,
        "rollout.engines": engines,
        "rollout.cpus-per-engine": 0.01,
        "rollout.max-in-flight": workload.groups * SAMPLES,
        "reward.max-in-flight": max(16, engines * workload.groups),
        "ppo.steps": arguments.steps,
        "ppo.prompts-per-step": engines * workload.groups,
        "ppo.samples-per-prompt": SAMPLES,
        "checkpoint-every": 1,
    }
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    return load_config(AlignConfig, ROOT / "jobs/configs/align_tiny.yaml", given)


if __name__ == "__main__":
    main()
