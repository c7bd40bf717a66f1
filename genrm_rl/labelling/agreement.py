"""How far people agree, beyond what chance would give: Cohen's kappa of every two, Krippendorff's alpha of all (pure).

Both come from scikit-learn's kappa. The package ``krippendorff`` is under the GPL, which a package under the Apache
license can't ask for.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from genrm_rl.labelling.types import Label

Opinions = Sequence[tuple[str, str]]  # of one comparison: who said what


def agreement(labels: Iterable[Sequence[Label]]) -> dict[str, Any]:
    """Of the comparisons (each with its labels, in the order in which people were asked) that two people or more
    labelled: how often both said the same, Cohen's kappa of each two people, its mean weighted by what they share, and
    Krippendorff's alpha.

    Only the first two labels of a comparison count: a third is asked for because these differ, so it is no sample of
    how people agree. Skips are no labels. What can't be said (nothing shared, or one word used throughout) is None.
    """
    units = []
    for each in labels:
        said = [(label.annotator, label.choice) for label in each if label.choice != "skip"]
        if len(said) > 1:
            units.append(said[:2])
    pairs: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for unit in units:
        (one, first), (other, second) = sorted(unit)
        pairs[one, other].append((first, second))
    cohen = [
        {"annotators": list(names), "shared": len(said), "kappa": cohen_kappa(said)}
        for names, said in sorted(pairs.items())
    ]
    known = [(row["kappa"], row["shared"]) for row in cohen if row["kappa"] is not None]
    return {
        "comparisons": len(units),
        "agree": sum(first == second for said in pairs.values() for first, second in said),
        "cohen": cohen,
        "cohen_mean": sum(kappa * n for kappa, n in known) / sum(n for _, n in known) if known else None,
        "krippendorff_alpha": krippendorff_alpha(units),
    }


def cohen_kappa(said: Sequence[tuple[str, str]], weights: Sequence[float] | None = None) -> float | None:
    """Cohen's kappa (1960) of two people's words for the same comparisons, None where chance can't be told."""
    from sklearn.metrics import cohen_kappa_score

    if len({word for both in said for word in both}) < 2:
        return None
    first, second = zip(*said, strict=True)
    return float(cohen_kappa_score(first, second, sample_weight=weights))


def krippendorff_alpha(units: Iterable[Opinions]) -> float | None:
    """Krippendorff's alpha (2011, nominal data, any number of people, missing values), None where it is not defined.

    Every ordered pair of the m values of a unit, weighted 1 / (m - 1), makes up the coincidence matrix, whose two
    margins are equal. Its kappa divides the same observed disagreement by the one expected when values are drawn with
    replacement; alpha draws without, which is n / (n - 1) of it, with n values in all.
    """
    said: list[tuple[str, str]] = []
    weights: list[float] = []
    values = 0
    for unit in units:
        if len(unit) < 2:
            continue
        values += len(unit)
        for (_, first), (_, second) in itertools.permutations(unit, 2):
            said.append((first, second))
            weights.append(1.0 / (len(unit) - 1))
    kappa = cohen_kappa(said, weights)
    return None if kappa is None else 1.0 - (1.0 - kappa) * (values - 1) / values
