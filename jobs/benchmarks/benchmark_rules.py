"""Rules that turn judgments into rewards: how many pairs of a group they order right, what they pay for it, and what a
policy gains with them.

    python jobs/benchmarks/benchmark_rules.py --root runs/rules    # simulation, then the alignments
    python jobs/benchmarks/benchmark_rules.py --root runs/rules --judge runs/ID/.../checkpoint

Simulation: groups of answers whose qualities are known, and judges whose noise is known (genrm_rl/rewards/noisy.py);
and a policy that is a table of logits over the answers to each question, learning from such groups (GRPO's advantages).
Alignments: ordinary GRPO runs on the tiny model, one per rule and seed, that continue where they were; the judge is the
task world's verifier with medium noise, or with ``--judge`` a trained one, served once. Writes rules.json, rules.md and
rules.svg into ``--root``. Other options are overrides of every run.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from genrm_rl.alignment.hosts import own_service
from genrm_rl.alignment.pooled import pool_runs
from genrm_rl.alignment.preflight import reserved_cpus
from genrm_rl.choices import Rule
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.preferences.world.style import verify
from genrm_rl.rewards.noisy import JUDGES
from genrm_rl.rewards.noisy_service import NoisyService
from genrm_rl.rewards.types import RULES
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import is_complete, write_atomic, write_json
from genrm_rl.simulation.rules import SCALE, SIZES, TABLE, WORLDS, Cell, Learned, learn_all, one_comparison, simulate
from genrm_rl.stories.align_policy import run_alignment

CONFIG = Path(__file__).parents[1] / "configs" / "align_tiny.yaml"
NOISE = "medium noise"  # the judge of the alignments
SMALL = [
    *("--ppo.steps", "8", "--ppo.prompts-per-step", "40", "--ppo.samples-per-prompt", "6"),
    *("--ppo.learning-rate", "1e-4", "--evaluation.every", "0", "--evaluation.probes", "0"),
    *("--evaluation.decoding", "[sampled]", "--prompts.test", "[{world: test}]"),
]


def main() -> None:
    """Simulate, align, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/rules"), help="folder of the runs and tables")
    parser.add_argument("--groups", type=int, default=400, help="simulated groups per cell")
    parser.add_argument("--rules", nargs="*", choices=RULES, default=["circular", "pivot", "reference", "log_odds"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a policy run for each, and rule")
    parser.add_argument("--questions", type=int, default=300, help="held-out questions per run")
    parser.add_argument("--judge", type=Path, help="checkpoint of a trained judge instead of the noisy verifier")
    parser.add_argument("--tables-only", action="store_true", help="align nothing, use the runs that are complete")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    cells, learned = simulate(arguments.groups), learn_all(arguments.seeds)
    configs = [configure(arguments, rule, seed, overrides) for seed in arguments.seeds for rule in arguments.rules]
    if configs and not arguments.tables_only:
        align(arguments, configs, console)
    write_tables(arguments, cells, learned, configs)
    console.print((arguments.root / "rules.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def configure(arguments: argparse.Namespace, rule: Rule, seed: int, overrides: list[str]) -> AlignConfig:
    """The run of one rule and seed."""
    cell = [
        *SMALL,
        *("--run.root", str(arguments.root), "--run.id", f"{rule}_seed{seed}", "--run.seed", str(seed)),
        *("--reward.rule", rule, "--reward.reference", "policy"),
        *("--evaluation.prompts", str(arguments.questions)),
        *(("--serving.checkpoint", str(arguments.judge)) if arguments.judge else ()),
    ]
    return load_config(AlignConfig, CONFIG, [*cell, *overrides])


def align(arguments: argparse.Namespace, configs: list[AlignConfig], console: Console) -> None:
    """Every run that is not complete, in one Ray and with one judge."""
    with (
        ray_session(cpus=math.ceil(max(reserved_cpus(config) for config in configs))),
        judge_of(arguments, configs[0], console) as url,
    ):
        for config in configs:
            update = {"reward": config.reward.model_copy(update={"url": url})}
            run_alignment(config.model_copy(update=update), console)


@contextmanager
def judge_of(arguments: argparse.Namespace, config: AlignConfig, console: Console) -> Iterator[str]:
    """Address of the judge: the trained one, or the verifier with noise."""
    if arguments.judge:
        with own_service(config, console) as url:
            yield url
        return
    with NoisyService(JUDGES[NOISE], verify, scale=SCALE, seed=0) as service:
        yield service.url


def write_tables(
    arguments: argparse.Namespace, cells: list[Cell], learned: list[Learned], configs: list[AlignConfig]
) -> None:
    """JSON with every number, Markdown to read, and the curves."""
    where = machine()
    lines = [
        "# Rules that turn judgments into rewards",
        "",
        f"{where['cpu']}, {where['cores']} cores; {arguments.groups} groups per cell. Share of the pairs of unequal "
        "quality that a rule orders right, in percent; a tie or a masked reward counts one half.",
    ]
    for world in WORLDS:
        for judge in JUDGES:
            single = ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in one_comparison(world, judge).items())
            lines += ["", f"## {world} qualities, judge: {judge}", "", f"One comparison: {single}.", ""]
            lines += size_table(cells, world, judge)
    lines += ["", f"## A policy table ({TABLE})", "", *learned_table(learned)]
    gains = gain_rows(arguments, configs)
    judge = str(arguments.judge or f"the verifier with {NOISE}")
    lines += ["", f"## Alignments (judge: {judge})", "", *gain_table(gains)]
    write_atomic(arguments.root / "rules.md", "\n".join(lines) + "\n")
    write_atomic(arguments.root / "rules.svg", curves(cells))
    write_json(
        arguments.root / "rules.json",
        {
            "machine": where, "versions": versions(), "judges": {name: asdict(each) for name, each in JUDGES.items()},
            "one_comparison": {world: {name: one_comparison(world, name) for name in JUDGES} for world in WORLDS},
            "cells": [asdict(cell) for cell in cells], "tables": [asdict(each) for each in learned],
            "alignments": {"judge": judge, "rules": gains},
        },
    )  # fmt: skip


def size_table(cells: list[Cell], world: str, judge: str) -> list[str]:
    """One line per rule, one column per size, with the comparisons that it pays."""
    lines = [f"| rule | {' | '.join(f'n = {size}' for size in SIZES)} |", "|---|" + "---|" * len(SIZES)]
    for rule in RULES:
        mine = [cell for cell in cells if (cell.world, cell.judge, cell.rule) == (world, judge, rule)]
        lines.append(f"| {rule} | {' | '.join(f'{100 * c.right:.1f} ({c.comparisons})' for c in mine)} |")
    return lines


def learned_table(learned: list[Learned]) -> list[str]:
    """One line per rule, one column per judge: mean gain and its range over the seeds."""
    lines = [f"| rule | comparisons | {' | '.join(JUDGES)} |", "|---|---|" + "---|" * len(JUDGES)]
    for rule in RULES:
        mine = [each for each in learned if each.rule == rule]
        cells = [f"{np.mean(e.gains):.2f} ({min(e.gains):.2f} to {max(e.gains):.2f})" for e in mine]
        lines.append(f"| {rule} | {np.mean([each.comparisons for each in mine]):.0f} | {' | '.join(cells)} |")
    return lines


def gain_rows(arguments: argparse.Namespace, configs: list[AlignConfig]) -> list[dict[str, Any]]:
    """What the policies of the complete runs gained, by rule."""
    rows = []
    for rule in arguments.rules:
        mine = [config for config in configs if config.reward.rule == rule]
        runs = [Path(config.run.root) / config.run.id for config in mine]
        complete = [run for run in runs if is_complete(run / "policy") and (run / "report.json").is_file()]
        rows += [{"rule": rule, "runs": [run.name for run in complete], **asdict(r)} for r in _pooled(complete)]
    return rows


def _pooled(runs: list[Path]) -> list[Any]:
    return pool_runs(runs) if runs else []


def gain_table(rows: list[dict[str, Any]]) -> list[str]:
    """One line per rule."""
    lines = [
        "| rule | seeds | questions | right before | after | points, 95 % over questions | by seed | KL nats |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gold = row["gold"]
        low, high = (100 * bound for bound in gold["ci95"])
        seeds = ", ".join(f"{100 * value:+.1f}" for value in row["by_run"])
        lines.append(
            f"| {row['rule']} | {len(row['runs'])} | {gold['n']} | {100 * gold['before']:.1f} | "
            f"{100 * gold['after']:.1f} | {100 * gold['difference']:+.1f} [{low:+.1f}, {high:+.1f}] | {seeds} | "
            f"{row['kl_nats']:.3f} |"
        )
    return lines


def curves(cells: list[Cell]) -> bytes:
    """Share ordered right by group size, one panel for each of three judges: graded qualities, linear rules and all
    pairs."""
    shown = ("low noise", "medium noise", "high noise")
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, judge in zip(panels, shown, strict=True):
        for rule, marker in zip(RULES, "osD^vPX*", strict=True):
            mine = [cell for cell in cells if (cell.world, cell.judge, cell.rule) == (WORLDS[0], judge, rule)]
            axes.plot([str(c.size) for c in mine], [100 * c.right for c in mine], marker=marker, label=rule)
        axes.set_title(judge)
        axes.set_xlabel("answers in a group")
        axes.grid(axis="y")
    panels[0].set_ylabel("pairs ordered right, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


if __name__ == "__main__":
    main()
