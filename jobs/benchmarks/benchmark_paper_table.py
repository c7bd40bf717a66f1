"""The paper's comparison in the controlled world and two methods beside it: 3 seeds, with and without a style cue.

    python jobs/benchmarks/benchmark_paper_table.py --root runs/paper_table

Every (cue, seed) is an ordinary bootstrap run that continues where it was; the tables are made from what is on disk.
Writes paper_table.json and paper_table.md into ``--root``, next to the paper's own pattern.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from genrm_rl.bootstrap.summary import LABELS
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation.costs import mean_cost
from genrm_rl.evaluation.pooled import PooledRow, Suite, pool_runs
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIG = Path(__file__).parents[1] / "configs" / "paper_table.yaml"
BASELINE = "llm_judge"
PAPER = (
    "The paper (Llama-3.1-8B, arXiv 2410.12832) compares at maj@32. In distribution STaR-SFT has no gain over "
    "zero-shot, STaR-DPO is above both and about equal to Bradley-Terry; out of distribution STaR-DPO is above "
    "Bradley-Terry, PairRM and direct GenRM, Bradley-Terry down to chance when the shift is large; the rationaliser is "
    "equal to STaR-DPO in distribution and below the base out of it; maj@32 adds 1.6 to 4.9 points. Here the tiny base "
    "was pre-trained to answer the prompt of the judges without reasoning and of PairRM with random verdicts, which "
    "these start from; Bradley-Terry has no such handicap."
)


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/paper_table"), help="folder of the runs and tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the preference stage")
    parser.add_argument("--cues", type=float, nargs="+", default=[0.75, 0.5], help="style cue in training; 0.5 is none")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make tables from complete runs")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    tables: dict[str, dict[Suite, PooledRow]] = {}
    costs: dict[str, list[str]] = {}
    for cue in arguments.cues:
        runs = []
        for seed in arguments.seeds:
            config = configure(arguments.root, cue, seed, overrides)
            runs.append(arguments.root / config.run.id)
            if not arguments.tables_only:
                run_bootstrap(config, console)
        tables[f"cue {cue:g}"] = pool_runs(runs, baseline=BASELINE, resamples=2000, seed=0)
        costs[f"cue {cue:g}"] = cost_table(runs)
    write_tables(arguments.root, tables, costs, arguments.seeds)
    console.print((arguments.root / "paper_table.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def configure(root: Path, cue: float, seed: int, overrides: list[str]) -> RunConfig:
    """The run of one cell."""
    cell = [
        "--run.root",
        str(root),
        "--run.seed",
        str(seed),
        "--run.id",
        f"cue{round(100 * cue)}_seed{seed}",
        "--data.world.cue",
        str(cue),
    ]
    return load_config(RunConfig, CONFIG, [*overrides, *cell])


def cost_table(runs: list[Path]) -> list[str]:
    """Tokens in thousands and steps by method, means over the seeds: what makes a comparison a fair one."""
    lines = ["| judge | tokens sampled | tokens trained on | steps |", "|---|---|---|---|"]
    for judge, label in LABELS.items():
        spent = mean_cost(runs, judge)
        if spent is not None:
            sampled, trained = spent.sampled_tokens / 1000, spent.trained_tokens / 1000
            lines.append(f"| {label} | {sampled:.0f} | {trained:.0f} | {spent.steps:.0f} |")
    return lines


def write_tables(
    root: Path, tables: dict[str, dict[Suite, PooledRow]], costs: dict[str, list[str]], seeds: list[int]
) -> None:
    """JSON with every number, and Markdown to read."""
    where = machine()
    lines = [
        "# The paper's comparison in the controlled world",
        "",
        f"Seeds {', '.join(map(str, seeds))}; {where['cpu']}, {where['cores']} cores.",
        "Accuracy (strict, both orders) in percent with its 95 % interval over prompts and seeds, [lowest, highest "
        "seed], and the difference to the untrained judge in points.",
        "",
        PAPER,
    ]
    for title, rows in tables.items():
        lines += ["", f"## {title}: cost in thousands of tokens", "", *costs[title]]
        for test_set in sorted({suite[1] for suite in rows}):
            lines += [
                "",
                f"## {title}, {test_set}",
                "",
                *markdown_table({s: r for s, r in rows.items() if s[1] == test_set}),
            ]
    write_atomic(root / "paper_table.md", "\n".join(lines) + "\n")
    write_json(
        root / "paper_table.json",
        {
            "machine": where,
            "versions": versions(),
            "seeds": seeds,
            "tables": {title: [as_json(row) for row in rows.values()] for title, rows in tables.items()},
        },
    )


def markdown_table(rows: dict[Suite, PooledRow]) -> list[str]:
    """One line per judge and decoding."""
    lines = [
        "| judge | decoding | maj@32 | maj@1 | accuracy | seeds | ties | right in both | difference | by seed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    order = list(LABELS)
    for (judge, _, decoding), row in sorted(rows.items(), key=lambda item: (order.index(item[0][0]), item[0][2])):
        result, difference = row.result, row.difference
        low, high = (100 * bound for bound in result.ci95)
        both = "-" if result.right_in_both is None else f"{100 * result.right_in_both:.1f}"
        points = "-"
        if difference is not None:
            left, right = (100 * bound for bound in difference.ci95)
            points = f"{100 * difference.difference:+.1f} ({left:+.1f} to {right:+.1f})"
        votes = {point.k: f"{100 * point.accuracy_flexible:.1f}" for point in result.majority_curve}
        by_seed = ", ".join(f"{100 * value:+.1f}" for value in row.difference_by_seed) or "-"
        lines.append(
            f"| {LABELS.get(judge, judge)} | {decoding} | {votes.get(32, '-')} | {votes.get(1, '-')} | "
            f"{100 * result.accuracy_strict:.1f} ({low:.1f}-{high:.1f}) | "
            f"[{100 * min(row.by_seed):.1f}, {100 * max(row.by_seed):.1f}] | {100 * result.tie_rate:.1f} | {both} | "
            f"{points} | {by_seed} |"
        )
    return lines


def as_json(row: PooledRow) -> dict[str, object]:
    """All numbers of one row."""
    return {
        "result": row.result.model_dump(mode="json"),
        "by_seed": list(row.by_seed),
        "within_ci95": row.within_ci95,
        "difference": row.difference.model_dump(mode="json") if row.difference else None,
        "difference_by_seed": list(row.difference_by_seed),
        "difference_within_ci95": row.difference_within_ci95,
    }


if __name__ == "__main__":
    main()
