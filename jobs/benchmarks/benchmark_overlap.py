"""What it brings on CPU to generate while the policy learns: answers a second and gold accuracy, against taking turns.

    python jobs/benchmarks/benchmark_overlap.py --root runs/overlap

Every seed aligns the tiny policy twice with two engines and the verifier's reward: with ppo.staleness 0, and with
``--staleness``. Answers a second are those of all steps over the seconds of all steps, from the first question on;
measurements before and after are not counted, and no checkpoint is written between. Runs continue where they were, but
then their seconds are no measurement. Writes overlap.json and overlap.md into --root. Other options are overrides of
every run.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from genrm_rl.alignment.pooled import Change, compare_arms, read_report
from genrm_rl.alignment.preflight import reserved_cpus
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation import view
from genrm_rl.evaluation.intervals import over_seeds
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.stories.align_policy import run_alignment

CONFIG = Path(__file__).parents[1] / "configs" / "align_tiny.yaml"
ENGINES = 2


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/overlap"), help="folder of the runs and tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="two runs for each")
    parser.add_argument("--steps", type=int, default=16, help="PPO steps of a run")
    parser.add_argument("--staleness", type=int, default=1, help="ppo.staleness of the overlapped runs")
    parser.add_argument("--questions", type=int, default=500, help="held-out questions per set and seed")
    arguments, overrides = parser.parse_known_args()
    arms: dict[int, list[Path]] = {0: [], arguments.staleness: []}
    for number, seed in enumerate(arguments.seeds):
        for staleness in sorted(arms, reverse=number % 2 == 1):  # neither is always the first on a warm machine
            config = configure(arguments, staleness, seed, overrides)
            with ray_session(cpus=math.ceil(reserved_cpus(config))):
                arms[staleness].append(run_alignment(config, Console()))
    write_table(arguments.root, arms, arguments.seeds)


def configure(arguments: argparse.Namespace, staleness: int, seed: int, overrides: list[str]) -> AlignConfig:
    """One run."""
    words = {
        "run.root": arguments.root,
        "run.id": f"staleness{staleness}_seed{seed}",
        "run.seed": seed,
        "ppo.staleness": staleness,
        "ppo.steps": arguments.steps,
        "checkpoint-every": arguments.steps,
        "evaluation.every": 0,
        "evaluation.prompts": arguments.questions,
        "rollout.engines": ENGINES,
        "reward.source": "verifier",
    }
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    return load_config(AlignConfig, CONFIG, [*given, *overrides])


def answers_per_second(run: Path) -> float:
    """Of all steps of a finished run."""
    steps = read_report(run)["steps"]
    return sum(row["rollout/answers"] for row in steps) / sum(row["seconds/step"] for row in steps)


def write_table(root: Path, arms: dict[int, list[Path]], seeds: list[int]) -> None:
    """JSON with every number, and Markdown to read."""
    turns, ahead = arms.values()
    staleness = max(arms)
    rates = {name: [answers_per_second(run) for run in runs] for name, runs in arms.items()}
    ratios = [after / before for before, after in zip(rates[0], rates[staleness], strict=True)]
    mean = math.fsum(ratios) / len(ratios)
    interval = over_seeds(ratios, (mean, mean))[1]
    gold = compare_arms(turns, ahead)
    where = machine()
    shown = "one seed, no interval" if interval is None else f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
    lines = [
        "# Answers while the policy learns",
        "",
        f"Tiny policy, {ENGINES} engines, the verifier's reward, seeds {', '.join(map(str, seeds))}; {where['cpu']}, "
        f"{where['cores']} cores.",
        "",
        f"Answers a second with staleness {staleness} over those with 0: {mean:.2f} ({shown}).",
        "",
        f"| seed | answers a second, staleness 0 | staleness {staleness} | ratio |",
        "|---|---|---|---|",
        *(
            f"| {seed} | {before:.1f} | {after:.1f} | {ratio:.2f} |"
            for seed, before, after, ratio in zip(seeds, rates[0], rates[staleness], ratios, strict=True)
        ),
        "",
        *gold_table(gold, staleness),
    ]
    write_atomic(root / "overlap.md", "\n".join(lines) + "\n")
    rows = [{"set": name, "decoding": decoding, **asdict(change)} for (name, decoding), change in gold.items()]
    facts = {"machine": where, "versions": versions(), "seeds": seeds, "staleness": staleness}
    write_json(root / "overlap.json", facts | {"answers_per_second": rates, "ratios": ratios, "gold": rows})
    Console().print("\n".join(lines), markup=False, highlight=False)


def gold_table(gold: dict[tuple[str, str], Change], staleness: int) -> list[str]:
    """Right answers of the final policies, on the same questions."""
    lines = [
        f"| test set | decoding | right, %: staleness 0 | staleness {staleness} | difference, points | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for (name, decoding), change in gold.items():
        lines.append(
            f"| {name} | {decoding} | {view.percent(change.before)} | {view.percent(change.after)} | "
            f"{view.points(change.difference)} | {view.points_interval(change.ci95)} |"
        )
    return lines


if __name__ == "__main__":
    main()
