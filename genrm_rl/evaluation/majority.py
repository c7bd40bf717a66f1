"""The maj@k curve: how much better k votes are than one.

Every k uses the same traces: the votes of a pair and order are cut into disjoint groups of k and each group decides
once. So k = 1 averages over all traces, and the points differ by k alone, not by which traces they saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genrm_rl.evaluation.counts import prompts_of
from genrm_rl.evaluation.intervals import bootstrap_interval
from genrm_rl.evaluation.records import JudgmentRecord, Vote
from genrm_rl.evaluation.schema_results import MajorityPoint

Array = NDArray[np.float64]


def majority_curve(records: Sequence[JudgmentRecord], *, resamples: int, seed: int) -> tuple[MajorityPoint, ...]:
    """Points for k = 1, 2, 4, ... up to the votes that all orders have; () if nothing has two votes.
    Pairs that are ties have no majority to find."""
    voted = [r for r in records if r.label is not None and max(len(r.votes_ab), len(r.votes_ba)) >= 2]
    if not voted:
        return ()
    games = [(i, votes, r.label == "A") for i, r in enumerate(voted) for votes in (r.votes_ab, r.votes_ba) if votes]
    most = min(len(votes) for _, votes, _ in games)
    prompt_N = np.unique(np.asarray(prompts_of(voted)), return_inverse=True)[1]
    prompt_G = prompt_N[[i for i, _, _ in games]]
    vote_GK = np.asarray([[_signed(vote, is_a) for vote in votes[:most]] for _, votes, is_a in games])
    p_GK = np.asarray([[_p_chosen(vote, is_a) for vote in votes[:most]] for _, votes, is_a in games])
    points, k = [], 1
    while k <= most:
        points.append(_point(k, prompt_G, vote_GK, p_GK, len(voted), resamples, seed))
        k *= 2
    return tuple(points)


def _point(
    k: int, prompt_G: Array, vote_GK: Array, p_GK: Array, pairs: int, resamples: int, seed: int
) -> MajorityPoint:
    groups = vote_GK.shape[1] // k
    sums_GJ = vote_GK[:, : groups * k].reshape(len(vote_GK), groups, k).sum(axis=2)
    right_G, tied_G = (sums_GJ > 0).mean(axis=1), (sums_GJ == 0).mean(axis=1)
    games_C = np.bincount(prompt_G).astype(np.float64)
    flexible_C = np.bincount(prompt_G, weights=right_G + 0.5 * tied_G)
    interval = bootstrap_interval(flexible_C, games_C, resamples=resamples, seed=seed)
    if interval is None:
        raise ValueError("a maj@k point needs at least one voted pair")
    return MajorityPoint(
        k=k,
        pairs=pairs,
        accuracy_strict=float(right_G.mean()),
        accuracy_flexible=float((right_G + 0.5 * tied_G).mean()),
        accuracy_mean_probability=_mean_probability_accuracy(k, groups, p_GK),
        ci95=interval,
    )


def _mean_probability_accuracy(k: int, groups: int, p_GK: Array) -> float | None:
    """Share of groups whose mean P(chosen) is above 0.5; a group without any is wrong; None if none has one."""
    if np.isnan(p_GK).all():
        return None
    p_GJk = p_GK[:, : groups * k].reshape(len(p_GK), groups, k)
    given_GJ = (~np.isnan(p_GJk)).sum(axis=2)
    mean_GJ = np.nansum(p_GJk, axis=2) / np.maximum(given_GJ, 1)
    return float(((given_GJ > 0) & (mean_GJ > 0.5)).mean())


def _signed(vote: Vote, is_a: bool) -> int:
    """+1 for a right vote, -1 for a wrong one, 0 for a non-verdict."""
    if vote.verdict.slot is None:
        return 0
    return 1 if (vote.verdict.slot == "A") == is_a else -1


def _p_chosen(vote: Vote, is_a: bool) -> float:
    """P(chosen); NaN, inside this module only, for a vote without a probability."""
    if vote.p_a is None:
        return float("nan")
    return vote.p_a if is_a else 1.0 - vote.p_a
