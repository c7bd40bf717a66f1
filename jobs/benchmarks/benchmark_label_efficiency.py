"""How many labels does a judge need, and what of it is left where the style, the length or the task is another?

    python jobs/benchmarks/benchmark_label_efficiency.py --root runs/labels --sizes 100 1000 10000 --seeds 0 1 2

Every (number of labelled pairs, seed) is an ordinary bootstrap run that continues where it was. Writes labels.json and
labels.md into ``--root``: accuracy by number of labels, in distribution and under each shift of the controlled world.
Other options are overrides of every run.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from genrm_rl.bootstrap.summary import LABELS
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation.pooled import PooledRow, Suite, pool_runs
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIG = Path(__file__).parents[1] / "configs" / "label_efficiency.yaml"
BASELINE = "bradley_terry"


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/labels"), help="folder of the runs and tables")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 3000, 10000], help="labelled pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of data and training")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make tables from complete runs")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    runs: dict[int, list[Path]] = {}
    for size in arguments.sizes:
        for seed in arguments.seeds:
            config = configure(arguments.root, size, seed, overrides)
            runs.setdefault(size, []).append(arguments.root / config.run.id)
            if not arguments.tables_only:
                run_bootstrap(config, console)
        write_tables(arguments.root, runs, arguments.seeds)
    console.print((arguments.root / "labels.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def configure(root: Path, size: int, seed: int, overrides: Sequence[str]) -> RunConfig:
    """The run of one cell."""
    cell = ["--run.root", str(root), "--run.seed", str(seed), "--run.id", f"labels{size}_seed{seed}"]
    return load_config(RunConfig, CONFIG, [*overrides, *cell, "--data.train", f"[{{world: train, limit: {size}}}]"])


def write_tables(root: Path, runs: Mapping[int, Sequence[Path]], seeds: Sequence[int]) -> None:
    """JSON with every number, and Markdown to read."""
    where = machine()
    pooled = {size: pool_runs(paths, baseline=BASELINE, resamples=2000, seed=0) for size, paths in runs.items()}
    suites = list(dict.fromkeys(suite for found in pooled.values() for suite in found))
    lines = [
        "# Accuracy by number of labels",
        "",
        f"Seeds {', '.join(map(str, seeds))}; {where['cpu']}, {where['cores']} cores. Accuracy (strict, both orders) "
        "in percent with its 95 % interval over prompts and seeds; the untrained judge and the longer answer learn "
        "nothing.",
    ]
    for test_set in dict.fromkeys(suite[1] for suite in suites):
        lines += ["", f"## {test_set}", "", *table([s for s in suites if s[1] == test_set], pooled)]
    write_atomic(root / "labels.md", "\n".join(lines) + "\n")
    rows = [
        {
            "labels": size,
            "judge": judge,
            "set": test_set,
            "decoding": decoding,
            "by_seed": list(row.by_seed),
            "result": row.result.model_dump(mode="json"),
        }
        for size, found in pooled.items()
        for (judge, test_set, decoding), row in found.items()
    ]
    write_json(root / "labels.json", {"machine": where, "versions": versions(), "seeds": list(seeds), "rows": rows})


def table(suites: Sequence[Suite], pooled: Mapping[int, Mapping[Suite, PooledRow]]) -> list[str]:
    """One line per judge and decoding, one column per number of labels."""
    lines = [f"| judge | decoding | {' | '.join(f'{size:,}' for size in pooled)} |", "|---|---|" + "---|" * len(pooled)]
    for suite in suites:
        cells = [shown(found[suite]) if suite in found else "-" for found in pooled.values()]
        lines.append(f"| {LABELS.get(suite[0], suite[0])} | {suite[2]} | {' | '.join(cells)} |")
    return lines


def shown(row: PooledRow) -> str:
    """Percent with its interval."""
    low, high = (100 * bound for bound in row.result.ci95)
    return f"{100 * row.result.accuracy_strict:.1f} [{low:.1f}, {high:.1f}]"


if __name__ == "__main__":
    main()
