"""What each way of folding two orders makes of the same judgments: accuracy, calibration, ties.

    genrm-rl evaluate llm_judge --config jobs/configs/bootstrap_tiny.yaml --run.id base_gate \\
        --data.test '[{world: gate, limit: 300}]' --judge.votes 8 --evaluation.decoding '[sampled]'
    python jobs/benchmarks/benchmark_folds.py runs/base_gate

Reads the traces that runs have kept, of an evaluation or of a gate, and judges nothing again. Use gate pairs: the
default of ``judge.aggregate`` is a choice, and test sets are not for choices.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from genrm_rl.evaluation.folds import FoldFigures, first_votes, fold_figures, leanings
from genrm_rl.evaluation.records import RECORDS, read_records
from genrm_rl.judging.folding import Aggregate, fold_all
from genrm_rl.preferences.types import Slot
from genrm_rl.rollout.trace_store import read_traces
from genrm_rl.runtime.storage import write_json

COLUMNS = (
    "votes",
    "P(A) of both orders",
    "accuracy",
    "of decided",
    "strict tie",
    "ECE",
    "ties",
    "contradictions",
    "not judged",
)


def main() -> None:
    """Read, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument(
        "--votes", type=int, nargs="*", default=[1, 4, 8], help="votes per order, where there are as many"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_folds.json"), help="where figures go")
    arguments = parser.parse_args()
    console, kept = Console(), {}
    for run in arguments.runs:
        for name, traces, labels in measured(run):
            most = 1 + max(trace.sample_index for trace in traces)
            rows = [
                row
                for votes in arguments.votes
                if votes <= most
                for aggregate in get_args(Aggregate)
                if (row := fold_figures(traces, labels, aggregate, votes)) is not None
            ]
            lean = leanings(fold_all(first_votes(traces, 1)).values(), labels)
            console.print(table(f"{run.name}, {name}", rows))
            for by, (right, decided) in lean.items():
                console.print(
                    f"contradictions of one vote, decided by the {by.replace('_', ' ')}: {right} of {decided} right"
                )
            kept[f"{run.name}/{name}"] = {"rows": [asdict(row) for row in rows], "leanings": lean}
    write_json(arguments.output, kept)


def measured(run: Path) -> Iterator[tuple[str, list, dict[str, Slot]]]:
    """Name, traces and labels of every set of judgments that a run has kept traces of."""
    for path in sorted(run.glob(f"**/judgments/{RECORDS}")):
        traces = path.parents[1] / "traces" / "traces.parquet"
        if traces.exists():
            labels = {record.pair_id: record.label for record in read_records(path)}
            yield str(path.parents[1].relative_to(run)), read_traces(traces), labels


def table(title: str, rows: list[FoldFigures]) -> Table:
    """Figures in percent."""
    made = Table(*COLUMNS, title=title)
    for row in rows:
        shares = (
            row.accuracy,
            row.accuracy_decided,
            row.accuracy_strict_tie,
            row.ece,
            row.ties,
            row.contradictions,
            row.not_judged,
        )
        shown = ["-" if share is None else f"{100 * share:.1f}" for share in shares]
        made.add_row(str(row.votes), row.aggregate.replace("_", " "), *shown)
    return made


if __name__ == "__main__":
    main()
