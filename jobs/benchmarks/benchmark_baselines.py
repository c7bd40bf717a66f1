"""What the longer answer and a lexical model reach on preference files: the figures that a judge has to beat.

    python jobs/benchmarks/benchmark_baselines.py /path/to/preferences
    python jobs/benchmarks/benchmark_baselines.py /path/to/preferences --sets truthfulqa hh_harmless

Every folder with ``train.jsonl.gz`` and ``test.jsonl.gz`` is a set, trained on by itself. No model and no Ray: seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from genrm_rl.config.data import DataConfig
from genrm_rl.evaluation.baselines import lexical, longer
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.preferences.sources import load_sources


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the sets")
    parser.add_argument("--sets", nargs="+", help="names; all that can be trained on if not given")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.sets or sorted(file.parent.name for file in arguments.root.glob("*/train.jsonl.gz"))
    print("| set | training pairs | test pairs | prompts | lexical, % | longer answer, % |\n|---|---|---|---|---|---|")
    for name in names:
        train, rows = measure(arguments.root, name, arguments.seed)
        first = rows[0]
        print(f"| {name} | {train:,} | {first.n:,} | {first.prompts:,} | {' | '.join(map(share, rows))} |", flush=True)


def measure(root: Path, name: str, seed: int) -> tuple[int, list[ResultRow]]:
    """How many pairs there are to learn from, and the rows of the lexical model and of the longer answer."""
    files = {side: [{"path": f"{name}/{side}.jsonl.gz"}] for side in ("train", "test")}
    gate = [{"path": f"{name}/validation.jsonl.gz"}] if (root / name / "validation.jsonl.gz").is_file() else []
    config = DataConfig.model_validate({"root": str(root), "on_bad_row": "skip", "gate": gate, **files})
    splits = load_sources(config, seed)
    ((_, pairs),) = splits.test.items()
    suites = (lexical(name, pairs, splits.train, seed), longer(name, pairs))
    return len(splits.train), [summarise(records, resamples=2000, by_category=False) for records in suites]


def share(row: ResultRow) -> str:
    """Folded accuracy with its interval over prompts."""
    low, high = row.accuracy_folded_ci95 or (float("nan"), float("nan"))
    return f"{100 * row.accuracy_folded:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
