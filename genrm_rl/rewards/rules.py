"""Pairwise to scalar: which pairs of a group are judged, and what each response earns from the outcomes.

Pure functions. An outcome is P(first of the match wins), both orders folded, or None where the judge gave no verdict;
None never becomes a number. Indices are places in the group's canonical order (:func:`canonical_order`), so that rules
which look at places (circular, chunked, knockout) give the same rewards when a group arrives in another order.

=============  =========================  ===========================================================================
rule           comparisons for n          reward
=============  =========================  ===========================================================================
log_odds       n (reference)              log P / (1 - P) against the reference answer (arXiv 2410.12832, Eq. 6)
reference      n (reference)              P against the reference answer (Arena-Hard style win rate)
round_robin    n (n - 1) / 2              mean P against all others (RRM, Think-RM)
bradley_terry  n (n - 1) / 2              strength of a Bradley-Terry fit to the soft outcomes, centred
pivot          n - 1                      P against one response of the group; that one earns one half
circular       n (n = 2: 1)               mean P against both neighbours on a ring (NeMo Gym)
chunked        all pairs within chunks    mean P within the chunk (tinker-cookbook)
knockout       n - 1                      share of the rounds survived (PairJudge, ArenaRL)
points         n, of one answer each      what a judge by points says, without position and without opponents
=============  =========================  ===========================================================================

Each comparison is two judge calls per vote, one per order; the outcome of ``points`` is a number of points, of a match
of a place with itself. Only the first five compare all responses with the same
opponents: there a response that is beaten by another one, head to head and against everyone else, never earns more.

The pivot is the first place, so a hash of the text chooses it. It earns what a tie with itself is worth: one half keeps
it on the right side of every response that it met, which the mean of its own probabilities would not. Two places that
tie in a knockout go on as one: the first plays for both, both earn what it earns, and a group of ties earns the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.judging.types import Judgment
from genrm_rl.preferences.types import content_hash
from genrm_rl.rewards.types import REFERENCE, Mask, Match

Outcomes = Mapping[Match, float | None]
Score = float | Mask

CLIP = 1e-4  # log-odds are cut at +-9.2
CHUNK = 4  # responses per chunk
PIVOT = 0  # place that the others are compared with
PRIOR = 0.1  # weight of the standard-normal prior on Bradley-Terry strengths; keeps an unbeaten response finite


def canonical_order(responses: Sequence[str], seed: int) -> list[list[int]]:
    """Places of the group: indices of equal responses together, places in the order of a seeded hash of the text.

    Equal responses share a place, so they are judged once and earn the same.
    """
    places: dict[str, list[int]] = {}
    for index, response in enumerate(responses):
        places.setdefault(response, []).append(index)
    return [places[text] for text in sorted(places, key=lambda text: (content_hash(seed, text), text))]


def spread(places: Sequence[Sequence[int]], scores: Sequence[Score]) -> list[Score]:
    """Scores of places back to the indices of the group (see :func:`canonical_order`)."""
    by_index = {index: value for indices, value in zip(places, scores, strict=True) for index in indices}
    return [by_index[index] for index in range(len(by_index))]


def next_matches(rule: Rule, n: int, outcomes: Outcomes) -> list[Match]:
    """Matches of ``n`` places to judge now, given what is decided; empty when :func:`score` may be called.

    All rules but knockout name all of their matches at the first call.
    """
    if rule == "knockout":
        return [match for match in _Bracket(n, outcomes).pending if match not in outcomes]
    return [match for match in _matches(rule, n) if match not in outcomes]


def score(rule: Rule, n: int, outcomes: Outcomes, *, min_judged: float = 0.5) -> list[Score]:
    """One reward or mask per place. A place with less than ``min_judged`` of its matches decided is masked.

    Raises ValueError if a match of the rule is neither decided nor given up (None).
    """
    missing = next_matches(rule, n, outcomes)
    if missing:
        raise ValueError(f"{len(missing)} matches of rule {rule} have no outcome yet, the first is {missing[0]}")
    if rule in AGAINST_REFERENCE:
        return [_against_reference(rule, outcomes[(place, REFERENCE)]) for place in range(n)]
    if rule == "points":
        given = [outcomes[(place, place)] for place in range(n)]
        return [Mask.NOT_JUDGED if points is None else points for points in given]
    if n == 1:
        return [Mask.ALONE]
    if rule == "knockout":
        return _Bracket(n, outcomes).rewards()
    wins = [_probabilities(place, _matches(rule, n), outcomes) for place in range(n)]
    enough = [len(seen) >= max(1, min_judged * asked) for seen, asked in wins]
    if rule == "bradley_terry":
        return _bradley_terry(n, outcomes, enough)
    if rule == "pivot" and enough[PIVOT]:
        wins[PIVOT] = [0.5], 1
    return [
        math.fsum(seen) / len(seen) if judged else Mask.NOT_JUDGED
        for (seen, _), judged in zip(wins, enough, strict=True)
    ]


def outcome_of(rule: Rule, judgment: Judgment) -> float | None:
    """What a rule is told of a match: P(first wins), or the points of the answer that the match is about."""
    if rule != "points":
        return judgment.p_a
    return None if judgment.points is None else judgment.points[0]


def comparisons(rule: Rule, n: int) -> int:
    """Number of comparisons that the rule makes for ``n`` different responses; the judge is called twice for each.

    Counted without building them: a service asks before it knows whether it takes the call.
    """
    if rule in AGAINST_REFERENCE or rule == "points":
        return n
    if rule in ("knockout", "pivot"):
        return max(0, n - 1)
    if rule == "circular":
        return n if n > 2 else max(0, n - 1)
    if rule == "chunked":
        return _pairs_in_chunks(n)
    return n * (n - 1) // 2


def _pairs_in_chunks(n: int) -> int:
    """Pairs within the chunks of ``n`` places; chunks differ by one place at most, so two sizes cover them."""
    count = max(1, round(n / CHUNK))
    size, larger = divmod(n, count)
    return larger * (size + 1) * size // 2 + (count - larger) * size * (size - 1) // 2


def _matches(rule: Rule, n: int) -> list[Match]:
    if rule in AGAINST_REFERENCE:
        return [(place, REFERENCE) for place in range(n)]
    if rule == "points":
        return [(place, place) for place in range(n)]
    if rule == "pivot":
        return [(PIVOT, place) for place in range(1, n)]
    if rule == "circular":
        return sorted({(min(p, (p + 1) % n), max(p, (p + 1) % n)) for p in range(n)}) if n > 1 else []
    if rule == "chunked":
        return [(i, j) for start, stop in _chunks(n) for i in range(start, stop) for j in range(i + 1, stop)]
    return [(i, j) for i in range(n) for j in range(i + 1, n)]


def _chunks(n: int) -> Iterator[tuple[int, int]]:
    """Chunks of about equal size, CHUNK - 1 to CHUNK + 1 places each."""
    count = max(1, round(n / CHUNK))
    bounds = [round(number * n / count) for number in range(count + 1)]
    return zip(bounds[:-1], bounds[1:], strict=True)


def _against_reference(rule: Rule, p: float | None) -> Score:
    if p is None:
        return Mask.NOT_JUDGED
    if rule == "reference":
        return p
    p = min(max(p, CLIP), 1 - CLIP)
    return math.log(p / (1 - p))


def _probabilities(place: int, matches: Sequence[Match], outcomes: Outcomes) -> tuple[list[float], int]:
    """P(place wins) of its decided matches, and how many it had."""
    own = [match for match in matches if place in match]
    decided = [(match, outcomes[match]) for match in own]
    return [p if match[0] == place else 1.0 - p for match, p in decided if p is not None], len(own)


class _Bracket:
    """Single elimination in canonical order, replayed from the outcomes; an odd place out goes on without a match.

    ``pending`` are the undecided matches of the current round. A match that was given up ends both of its places
    masked. ``plays_for[place]`` is the place whose fate a tied one shares.
    """

    def __init__(self, n: int, outcomes: Outcomes) -> None:
        rounds = max(1, math.ceil(math.log2(n)))
        self.scores: list[Score] = [0.0] * n
        self.plays_for = list(range(n))
        self.pending: list[Match] = []
        alive = list(range(n))
        for number in range(1, rounds + 1):
            matches = list(zip(alive[::2], alive[1::2], strict=False))
            self.pending = [match for match in matches if match not in outcomes]
            if self.pending:
                return
            winners = [self._play(match, outcomes[match]) for match in matches]
            alive = [place for place in winners if place is not None] + alive[len(matches) * 2 :]
            for place in alive:
                self.scores[place] = number / rounds

    def rewards(self) -> list[Score]:
        """Share of the rounds survived, tied places together."""
        return [self.scores[self._leader(place)] for place in range(len(self.scores))]

    def _leader(self, place: int) -> int:
        while self.plays_for[place] != place:
            place = self.plays_for[place]
        return place

    def _play(self, match: Match, p: float | None) -> int | None:
        first, second = match
        if p is None:
            self.scores[first] = self.scores[second] = Mask.NOT_JUDGED
            return None
        if p == 0.5:
            self.plays_for[second] = first
        return first if p >= 0.5 else second


def _bradley_terry(n: int, outcomes: Outcomes, enough: Sequence[bool]) -> list[Score]:
    """Strengths that maximise the soft-label likelihood with a weak normal prior (Newton; strictly concave)."""
    games = [(i, j, p) for (i, j), p in outcomes.items() if p is not None]
    group = _largest_component(n, games)
    games = [(i, j, p) for i, j, p in games if i in group]
    strength = np.zeros(n)
    for _ in range(50):
        gradient, hessian = -PRIOR * strength, PRIOR * np.eye(n)
        for i, j, p in games:
            expected = 1 / (1 + math.exp(strength[j] - strength[i]))
            gradient[i] += p - expected
            gradient[j] -= p - expected
            weight = expected * (1 - expected)
            hessian[[i, j], [i, j]] += weight
            hessian[[i, j], [j, i]] -= weight
        step = np.linalg.solve(hessian, gradient)
        strength += step
        if np.abs(step).max() < 1e-10:
            break
    strength -= strength[sorted(group)].mean()
    return [
        Mask.NOT_JUDGED if not enough[place] else Mask.NOT_COMPARABLE if place not in group else float(strength[place])
        for place in range(n)
    ]


def _largest_component(n: int, games: Sequence[tuple[int, int, float]]) -> set[int]:
    """The most places that a chain of decided matches ties together; strengths of others are on no common scale."""
    component = list(range(n))
    for i, j, _ in games:
        old, new = component[j], component[i]
        component = [new if name == old else name for name in component]
    largest = max(component, key=lambda name: (component.count(name), -component.index(name)))
    return {place for place in range(n) if component[place] == largest}
