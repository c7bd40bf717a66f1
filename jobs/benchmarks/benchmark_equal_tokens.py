"""What is a token spent on votes of an untrained judge worth, against one spent by a trained judge?

    python jobs/benchmarks/benchmark_ablation.py --root runs/ablation --seeds 0 1 --arms main  # trains the judges
    python jobs/benchmarks/benchmark_equal_tokens.py --root runs/equal_tokens --judges runs/ablation --seeds 0 1

The untrained judge and those of STaR-SFT, STaR-DPO and verdict RL give ``--votes`` sampled judgments per order of the
same held-out pairs; accuracy of the majority of k of them stands beside the tokens that k judgments cost. Every
(judge, seed) is an ordinary evaluation run that continues where it was. Writes equal_tokens.json and equal_tokens.md
into ``--root``. Other options are overrides of every run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from genrm_rl.bootstrap.summary import LABELS
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation.intervals import over_seeds
from genrm_rl.evaluation.job import Measured, measure_judge
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.pooled import concatenate
from genrm_rl.evaluation.records import RECORDS, JudgmentRecord, read_records
from genrm_rl.rollout.shared_pool import shared_engines
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_atomic, write_json

CONFIG = Path(__file__).parents[1] / "configs" / "ablation.yaml"
BASE = "llm_judge"
TRAINED = ("star_sft", "star_dpo", "verdict_rl")


@dataclass(frozen=True, slots=True)
class Point:
    """The majority of ``k`` judgments per order of a judge on a test set: tokens that they cost per order, accuracy (a
    tied vote counts one half), its interval over prompts and seeds, and the accuracy of every seed."""

    judge: str
    test_set: str
    k: int
    tokens: float
    accuracy: float
    ci95: tuple[float, float]
    by_seed: tuple[float, ...]


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/equal_tokens"), help="folder of the runs and the table")
    parser.add_argument("--judges", type=Path, default=Path("runs/ablation"), help="runs of benchmark_ablation.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of those runs")
    parser.add_argument("--votes", type=int, default=16, help="judgments per order")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    with ray_session(), shared_engines():
        measured = {
            name: [measure(arguments, name, seed, overrides, console) for seed in arguments.seeds]
            for name in (BASE, *TRAINED)
        }
    points = [point for name, found in measured.items() for point in points_of(name, found)]
    write_table(arguments.root, points, arguments.seeds)
    console.print((arguments.root / "equal_tokens.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def measure(
    arguments: argparse.Namespace, name: str, seed: int, overrides: Sequence[str], console: Console
) -> Measured:
    """One judge of one seed on that seed's test pairs."""
    words = ["--run.root", str(arguments.root), "--run.id", f"{name}_seed{seed}", "--run.seed", str(seed)]
    words += ["--judge.votes", str(arguments.votes), "--evaluation.decoding", "[sampled]"]
    config = load_config(RunConfig, CONFIG, [*overrides, *words])
    trained = arguments.judges / f"main_seed{seed}" / "methods" / name / "round1" / "checkpoint"
    return measure_judge(config, BASE if name == BASE else str(trained), "cot", console)


def points_of(name: str, measured: Sequence[Measured]) -> list[Point]:
    """The curve of one judge on every test set, its seeds pooled."""
    by_seed: list[dict[str, list[JudgmentRecord]]] = []
    for each in measured:
        suites = [read_records(file) for file in sorted(each.folder.glob(f"*/*/judgments/{RECORDS}"))]
        by_seed.append({records[0].test_set: records for records in suites})
    found = []
    for test_set in by_seed[0]:
        pooled = summarise(concatenate(suites[test_set] for suites in by_seed), resamples=2000, by_category=False)
        alone = [summarise(suites[test_set], resamples=100, by_category=False).majority_curve for suites in by_seed]
        each = (pooled.completion_tokens or 0) / (pooled.judgments * pooled.votes)
        for number, point in enumerate(pooled.majority_curve):
            seeds = tuple(curve[number].accuracy_flexible for curve in alone)
            interval = over_seeds(seeds, point.ci95)[0]
            found.append(Point(name, test_set, point.k, each * point.k, point.accuracy_flexible, interval, seeds))
    return found


def write_table(root: Path, points: Sequence[Point], seeds: Sequence[int]) -> None:
    """JSON with every number, Markdown to read."""
    where = machine()
    lines = [
        "# Accuracy at equal generated tokens",
        "",
        f"Seeds {', '.join(map(str, seeds))}; {where['cpu']}, {where['cores']} cores. Majority of k sampled judgments "
        "of one order: accuracy in percent with its 95 % interval over prompts and seeds, and the tokens written for "
        "it.",
    ]
    for test_set in dict.fromkeys(point.test_set for point in points):
        shown = [point for point in points if point.test_set == test_set]
        votes = sorted({point.k for point in shown})
        lines += ["", f"## {test_set}", "", f"| judge | {' | '.join(f'k = {k}' for k in votes)} |"]
        lines.append("|---|" + "---|" * len(votes))
        for judge in dict.fromkeys(point.judge for point in shown):
            cells = [cell(point) for point in shown if point.judge == judge]
            lines.append(f"| {LABELS.get(judge, judge)} | {' | '.join(cells)} |")
    write_atomic(root / "equal_tokens.md", "\n".join(lines) + "\n")
    facts = {"machine": where, "versions": versions(), "seeds": list(seeds)}
    write_json(root / "equal_tokens.json", facts | {"points": [asdict(point) for point in points]})


def cell(point: Point) -> str:
    """Percent with its interval, and tokens."""
    low, high = (100 * bound for bound in point.ci95)
    return f"{100 * point.accuracy:.1f} [{low:.1f}, {high:.1f}], {point.tokens:,.0f} tokens"


if __name__ == "__main__":
    main()
