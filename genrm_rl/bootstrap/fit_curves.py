"""How fits went that were measured on the gate's pairs as they learned, from their histories."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from genrm_rl.evaluation.schema import FitCurve
from genrm_rl.learners.best_weights import LOSS, STEP
from genrm_rl.learners.fit import HISTORY_FILE, load_result
from genrm_rl.runtime.storage import is_complete, read_manifest

SKIPPED = "held_out_skipped"


def fit_curves(run: Path) -> Iterable[FitCurve]:
    """One for each fit whose settings asked for it (``evaluate_every``)."""
    for folder in sorted((run / "methods").glob("*/round*/checkpoint")):
        if not is_complete(folder) or not (folder / HISTORY_FILE).is_file():
            continue
        history = load_result(folder).history
        measured = [row for row in history if LOSS in row or SKIPPED in row]
        if not measured:
            continue
        steps = [int(row["step"]) + 1 for row in measured]
        best = read_manifest(folder).get(STEP)
        yield FitCurve(
            method=folder.parent.parent.name,
            steps=tuple(steps),
            train_loss=tuple(_mean_loss(history[low:high]) for low, high in pairwise([0, *steps])),
            held_out_loss=tuple(row.get(LOSS) for row in measured),
            best_step=None if best is None else best + 1,
        )


def _mean_loss(rows: Iterable[dict[str, float]]) -> float | None:
    losses = [row["loss"] for row in rows if "loss" in row]  # a skipped step has none
    return sum(losses) / len(losses) if losses else None
