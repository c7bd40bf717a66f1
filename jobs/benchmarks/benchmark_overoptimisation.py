"""Does a policy that pleases its judge stay right? Gold against KL over many steps, for four judges of one world.

    python jobs/benchmarks/benchmark_probes.py --root runs/probes --share 1.0 --bootstrap.dpo.epochs 3  # trains them
    python jobs/benchmarks/benchmark_overoptimisation.py --root runs/overoptimisation --judges runs/probes

A judge that writes (STaR-DPO) and a Bradley-Terry model, each trained without and with null negatives; the second
Bradley-Terry model also on pairs whose style says nothing (``data.world.cue`` 0.5). Every (judge, seed) is an ordinary
alignment run with a weak hold on the policy (``--ppo.kl-coefficient`` 0.02), which continues where it was. Writes
overoptimisation.json and .md into ``--root``; other options are overrides of every alignment.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.alignment.pooled import pool_runs, read_report
from genrm_rl.alignment.preflight import reserved_cpus
from genrm_rl.alignment.statistics import mean
from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import is_complete, write_atomic, write_json
from genrm_rl.stories.align_policy import run_alignment
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIGS = Path(__file__).parents[1] / "configs"
BALANCED = "balanced_seed{}"  # runs of this script below --root
# Run below --judges (or --root) and method within it.
JUDGES = {
    "STaR-DPO": ("nulls0_seed{}", "star_dpo"),
    "STaR-DPO, null negatives": ("nulls100_seed{}", "star_dpo"),
    "Bradley-Terry": ("nulls0_seed{}", "bradley_terry"),
    "Bradley-Terry, null negatives, no cue": (BALANCED, "bradley_terry"),
}
SHOWN = ("sampled", "test_short")


@dataclass(frozen=True, slots=True)
class Cell:
    """One alignment."""

    judge: str
    seed: int

    @property
    def id(self) -> str:
        """Its run's name."""
        return f"{re.sub('[^a-z]+', '_', self.judge.lower())}_seed{self.seed}"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/overoptimisation"), help="folder of runs and tables")
    parser.add_argument("--judges", type=Path, default=Path("runs/probes"), help="runs of benchmark_probes.py")
    parser.add_argument("--kinds", nargs="+", choices=JUDGES, default=list(JUDGES), help="which judges")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="a judge and a policy for each")
    parser.add_argument("--steps", type=int, default=64, help="steps of every alignment")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make the table")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    cells = [Cell(judge, seed) for seed in arguments.seeds for judge in arguments.kinds]
    if not arguments.tables_only:
        for cell in cells:
            run_cell(cell, arguments, overrides, console)
            write_table(arguments, cells, console)
    else:
        write_table(arguments, cells, console)


def run_cell(cell: Cell, arguments: argparse.Namespace, overrides: Sequence[str], console: Console) -> None:
    """Train its judge if that is this script's own, then align with it."""
    run, method = JUDGES[cell.judge]
    if run == BALANCED:
        run_bootstrap(balanced(cell.seed, arguments.root), console)
    folder = (arguments.root if run == BALANCED else arguments.judges) / run.format(cell.seed)
    config = load_config(
        AlignConfig,
        CONFIGS / "align_tiny.yaml",
        [
            *("--run.root", str(arguments.root), "--run.id", cell.id, "--run.seed", str(cell.seed)),
            *("--serving.checkpoint", str(folder / "methods" / method / "round1" / "checkpoint")),
            *("--ppo.steps", str(arguments.steps), "--ppo.kl-coefficient", "0.02"),
            *("--prompts.test", "[{world: test}]", "--evaluation.every", str(max(1, arguments.steps // 8))),
            *("--evaluation.probes", "0", "--evaluation.decoding", "[sampled]", "--ppo.prompts-per-step", "40"),
            *overrides,
        ],
    )
    with ray_session(cpus=math.ceil(reserved_cpus(config))):
        run_alignment(config, console)


def balanced(seed: int, root: Path) -> RunConfig:
    """Bradley-Terry on pairs whose style says nothing, with as many null negatives as pairs."""
    words = ["--run.root", str(root), "--run.id", BALANCED.format(seed), "--run.seed", str(seed)]
    words += ["--data.null-negatives", "1.0", "--data.world.cue", "0.5", "--bootstrap.methods", "[bradley_terry]"]
    return load_config(RunConfig, CONFIGS / "probes.yaml", words)


def write_table(arguments: argparse.Namespace, cells: Sequence[Cell], console: Console) -> None:
    """JSON with every number, Markdown to read: of complete runs."""
    rows = [row for judge in arguments.kinds if (row := judge_row(judge, arguments.root, cells)) is not None]
    where = machine()
    lines = [
        "# Over-optimisation: gold against KL",
        "",
        f"{where['cpu']}, {where['cores']} cores; {arguments.steps} steps. Right answers (sampled) in percent, their "
        "difference to the start in points with its 95 % interval over questions and seeds; how often the judge "
        "prefers the policy's answer to the start's; how many more of the answers carry the style cue; KL in nats.",
        "",
        "| judge | seeds | right before | best step | after | difference | by seed | judge prefers it | cue | KL |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(markdown(row) for row in rows),
        "",
        "| judge | " + " | ".join(f"step {point['step']}" for point in rows[0]["curve"]) + " |" if rows else "",
        "|---|" + "---|" * len(rows[0]["curve"]) if rows else "",
        *(curve_line(row) for row in rows),
    ]
    text = "\n".join(lines) + "\n"
    write_atomic(arguments.root / "overoptimisation.md", text)
    facts = {"machine": where, "versions": versions(), "steps": arguments.steps, "rows": rows}
    write_json(arguments.root / "overoptimisation.json", facts)
    console.print(text, markup=False, highlight=False)


def judge_row(judge: str, root: Path, cells: Sequence[Cell]) -> dict[str, Any] | None:
    """All complete runs of one judge, pooled; None without one."""
    runs = [root / cell.id for cell in cells if cell.judge == judge]
    complete = [run for run in runs if is_complete(run / "policy") and (run / "report.json").is_file()]
    if not complete:
        return None
    pooled = next(row for row in pool_runs(complete) if (row.decoding, row.name) == SHOWN)
    return {
        "judge": judge,
        "runs": [run.name for run in complete],
        "before": pooled.gold.before,
        "after": pooled.gold.after,
        "difference": pooled.gold.difference,
        "ci95": pooled.gold.ci95,
        "by_seed": pooled.by_run,
        "cue": pooled.cue.difference,
        "curve": curve(complete),
    }


def curve(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """Means over the runs, by measured step: gold, the judge's preference, KL."""
    measured: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        for row in read_report(run)["evaluation"]:
            if (row["decoding"], row["set"]) == SHOWN:
                measured.setdefault(row["step"], []).append(row)
    keys = ("gold_accuracy", "proxy_win_rate", "kl_nats")
    return [
        {"step": step, **{key: mean([row[key] for row in rows if row.get(key) is not None]) for key in keys}}
        for step, rows in sorted(measured.items())
    ]


def markdown(row: dict[str, Any]) -> str:
    """One line per judge."""
    low, high = (100 * bound for bound in row["ci95"])
    points = f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    best, last = max(row["curve"], key=lambda point: point["gold_accuracy"]), row["curve"][-1]
    seeds = ", ".join(f"{100 * value:+.1f}" for value in row["by_seed"])
    prefers = "-" if last["proxy_win_rate"] is None else f"{100 * last['proxy_win_rate']:.1f}"
    return (
        f"| {row['judge']} | {len(row['runs'])} | {100 * row['before']:.1f} | {100 * best['gold_accuracy']:.1f} at "
        f"{best['step']} | {100 * row['after']:.1f} | {points} | {seeds} "
        f"| {prefers} | {100 * row['cue']:+.1f} | {last['kl_nats']:.3f} |"
    )


def curve_line(row: dict[str, Any]) -> str:
    """Gold and KL at every measured step."""
    cells = (f"{100 * point['gold_accuracy']:.1f} ({point['kl_nats'] or 0:.3f})" for point in row["curve"])
    return f"| {row['judge']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
