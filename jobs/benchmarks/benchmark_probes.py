"""What null negatives do to a judge: the probe gate and the accuracy with and without them, seed by seed.

    python jobs/benchmarks/benchmark_probes.py --root runs/probes
    python jobs/benchmarks/benchmark_probes.py --root runs/probes_smollm2 --model smollm2 --data.root FOLDER

Every (share of null negatives, seed) is an ordinary bootstrap run that continues where it was; the tables are made from
what is on disk. Writes probes.json and probes.md into ``--root``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation.changes import AccuracyChange, accuracy_changes
from genrm_rl.evaluation.report import load_report
from genrm_rl.evaluation.schema import ProbeRow
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIGS = {"tiny": "probes.yaml", "smollm2": "probes_smollm2.yaml"}


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/probes"), help="folder of the runs and tables")
    parser.add_argument("--model", choices=CONFIGS, default="tiny", help="tiny: the task world; smollm2: human pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the preference stage")
    parser.add_argument("--share", type=float, default=0.3, help="null negatives as a share of the training pairs")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make tables from complete runs")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    arms: dict[float, list[Path]] = {0.0: [], arguments.share: []}
    for seed in arguments.seeds:
        for share, runs in arms.items():
            config = configure(arguments.root, CONFIGS[arguments.model], share, seed, overrides)
            runs.append(arguments.root / config.run.id)
            if not arguments.tables_only:
                run_bootstrap(config, console)
    write_tables(arguments.root, arms, arguments.seeds)
    console.print((arguments.root / "probes.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def configure(root: Path, file: str, share: float, seed: int, overrides: Sequence[str]) -> RunConfig:
    """The run of one cell."""
    cell = {
        "run.root": root,
        "run.seed": seed,
        "run.id": f"nulls{round(100 * share)}_seed{seed}",
        "data.null-negatives": share,
    }
    words = [word for name, value in cell.items() for word in (f"--{name}", str(value))]
    return load_config(RunConfig, Path(__file__).parents[1] / "configs" / file, [*overrides, *words])


def write_tables(root: Path, arms: Mapping[float, Sequence[Path]], seeds: Sequence[int]) -> None:
    """JSON with every number, and Markdown to read."""
    where = machine()
    probes = {share: [load_report(run).probes for run in runs] for share, runs in arms.items()}
    changes = accuracy_changes(*arms.values())
    lines = [
        "# Null negatives and the probe gate",
        "",
        f"Seeds {', '.join(map(str, seeds))}; {where['cpu']}, {where['cores']} cores. Wins of null answers over real "
        "ones on held-out prompts, greedy, both orders folded, all seeds together; in bold what is above the limit.",
    ]
    for judge in dict.fromkeys(row.judge for runs in probes.values() for rows in runs for row in rows):
        lines += ["", f"## {judge}", "", *probe_table(judge, probes)]
    lines += ["", "## Accuracy", "", *accuracy_table(changes)]
    write_atomic(root / "probes.md", "\n".join(lines) + "\n")
    write_json(
        root / "probes.json",
        {
            "machine": where,
            "versions": versions(),
            "seeds": list(seeds),
            "probes": [
                {"share": share, "seed": seed, **row.model_dump(mode="json")}
                for share, runs in probes.items()
                for seed, rows in zip(seeds, runs, strict=True)
                for row in rows
            ],
            "accuracy": [asdict(change) for change in changes],
        },
    )


def probe_table(judge: str, probes: Mapping[float, Sequence[Sequence[ProbeRow]]]) -> list[str]:
    """Wins of n by kind, a column for each share of null negatives, and how many seeds passed the gate."""
    lines = ["| null answer | " + " | ".join(f"{share:g} null negatives" for share in probes) + " |"]
    lines.append("|---|" + "---|" * len(probes))
    found = {share: [[row for row in rows if row.judge == judge] for rows in runs] for share, runs in probes.items()}
    for kind in dict.fromkeys(row.probe for runs in found.values() for rows in runs for row in rows):
        cells = [_wins([row for rows in runs for row in rows if row.probe == kind]) for runs in found.values()]
        lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    passed = [f"{sum(all(row.passed for row in rows) for rows in runs)} of {len(runs)}" for runs in found.values()]
    return [*lines, f"| seeds that pass the gate | {' | '.join(passed)} |"]


def _wins(rows: Sequence[ProbeRow]) -> str:
    wins, count = sum(row.wins for row in rows), sum(row.n for row in rows)
    if not count:
        return "-"
    shown = f"{wins} of {count}, {100 * wins / count:.1f} %"
    return f"**{shown}**" if wins / count > rows[0].limit else shown


def accuracy_table(changes: Sequence[AccuracyChange]) -> list[str]:
    """Markdown lines."""
    lines = ["| judge | test set | without, % | with, % | difference, points | by seed |", "|---|---|---|---|---|---|"]
    lines += [f"| {row.judge} | {row.test_set}, {row.decoding} | {row.cells()} |" for row in changes]
    return lines


if __name__ == "__main__":
    main()
