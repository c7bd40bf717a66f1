"""Rules at work on answers whose qualities are known: what they order right, and what a policy table learns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.progress import track

from genrm_rl.choices import Rule
from genrm_rl.rewards.noisy import JUDGES, NoisyJudge
from genrm_rl.rewards.rules import comparisons, next_matches, score
from genrm_rl.rewards.types import RULES, Mask

SIZES = (4, 6, 8, 16)
WORLDS = ("graded", "right or wrong")  # qualities: standard normal; or 0 and SCALE
RIGHT, SCALE = 0.6, 2.0  # share of right answers, and how much better one is


@dataclass(frozen=True, slots=True)
class Table:
    """The simulated policy: so many questions, answers to each, and steps; learning rate on the logits."""

    questions: int = 40
    answers: int = 24
    size: int = 6
    steps: int = 24
    rate: float = 1.0


TABLE = Table()


@dataclass(frozen=True, slots=True)
class Cell:
    """One rule on groups of one size: ``right`` is the share of pairs of unequal quality that it orders right (a tie or
    a masked reward counts one half), ``masked`` the share of rewards that are missing."""

    world: str
    judge: str
    rule: Rule
    size: int
    comparisons: int
    right: float
    masked: float


def simulate(groups: int) -> list[Cell]:
    """Every rule, size, judge and world; all rules see groups drawn from the same seed."""
    kinds = [(world, name, rule, size) for world in WORLDS for name in JUDGES for rule in RULES for size in SIZES]
    return [cell_of(*kind, groups) for kind in track(kinds, "simulated cells")]


def cell_of(world: str, name: str, rule: Rule, size: int, groups: int) -> Cell:
    """One cell of the simulation."""
    draw = np.random.default_rng(size)
    found = [play(world, JUDGES[name], rule, size, draw) for _ in range(groups)]
    right, pairs, masked = (sum(column) for column in zip(*found, strict=True))
    return Cell(world, name, rule, size, comparisons(rule, size), right / pairs, masked / (groups * size))


def play(world: str, judge: NoisyJudge, rule: Rule, size: int, draw: np.random.Generator) -> tuple[float, int, int]:
    """One group: pairs of unequal quality that are ordered right, their number, and masked rewards."""
    quality = _qualities(world, size + 1, draw)
    rewards = rewards_of(judge, rule, quality, draw)
    first, second = np.triu_indices(size, 1)
    better = np.sign(quality[first] - quality[second])
    gap = rewards[first] - rewards[second]
    undecided = np.isnan(gap) | (np.abs(gap) < 1e-9)
    right = np.where(undecided, 0.5, np.sign(gap) == better)[better != 0]
    return float(right.sum()), len(right), int(np.isnan(rewards).sum())


def rewards_of(judge: NoisyJudge, rule: Rule, quality: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Rewards of a group, NaN where masked. The last quality is the reference answer's."""
    size = len(quality) - 1
    outcomes: dict[tuple[int, int], float | None] = {}
    while matches := next_matches(rule, size, outcomes):
        first, second = np.array(matches).T
        found = judge.judge(quality[first], quality[second], draw)
        outcomes |= {match: None if math.isnan(p) else float(p) for match, p in zip(matches, found, strict=True)}
    scores = score(rule, size, outcomes)
    return np.array([math.nan if isinstance(value, Mask) else value for value in scores])


@dataclass(frozen=True, slots=True)
class Learned:
    """Mean quality that the policy table gained, in standard deviations of the qualities, by seed, and comparisons."""

    judge: str
    rule: Rule
    gains: tuple[float, ...]
    comparisons: float


def learn_all(seeds: Sequence[int]) -> list[Learned]:
    """Every rule and noisy judge, groups of TABLE.size."""
    kinds = [(name, rule) for name in JUDGES for rule in RULES]
    found = []
    for name, rule in track(kinds, "policy tables"):
        runs = [learn(JUDGES[name], rule, np.random.default_rng(seed)) for seed in seeds]
        gains, paid = zip(*runs, strict=True)
        found.append(Learned(name, rule, gains, sum(paid) / len(paid)))
    return found


def learn(judge: NoisyJudge, rule: Rule, draw: np.random.Generator, table: Table = TABLE) -> tuple[float, int]:
    """Gain of a policy table and the comparisons that it paid. Equal answers of a group are judged once."""
    quality, reference = draw.standard_normal((table.questions, table.answers)), draw.standard_normal(table.questions)
    logits, paid = np.zeros_like(quality), 0
    for _ in range(table.steps):
        policy = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for question, probabilities in enumerate(policy):
            group = draw.choice(table.answers, table.size, p=probabilities)
            places = draw.permutation(np.unique(group))
            shown = np.append(quality[question, places], reference[question])
            rewards = dict(zip(places, rewards_of(judge, rule, shown, draw), strict=True))
            paid += comparisons(rule, len(places))
            logits[question] += table.rate * _step(np.array([rewards[each] for each in group]), group, probabilities)
    policy = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(((policy * quality).sum(axis=1) - quality.mean(axis=1)).mean()), paid


def _step(rewards: np.ndarray, group: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Policy gradient on the logits with GRPO's advantages; masked answers take no part."""
    known = ~np.isnan(rewards)
    gradient = np.zeros_like(probabilities)
    if known.sum() > 1 and (spread := rewards[known].std()) > 1e-9:
        advantages = (rewards[known] - rewards[known].mean()) / spread
        np.add.at(gradient, group[known], advantages / known.sum())
    return gradient  # advantages sum to 0, so the term of the probabilities vanishes


def one_comparison(world: str, name: str, pairs: int = 40_000) -> dict[str, float]:
    """What a single comparison of answers of unequal quality comes to: right, a tie, no judgment; shares of all."""
    draw = np.random.default_rng(0)
    first, second = (_qualities(world, pairs, draw) for _ in range(2))
    p = JUDGES[name].judge(first, second, draw)[first != second]
    right = np.sign(p - 0.5) == np.sign(first - second)[first != second]
    return {"right": float(right.mean()), "tie": float((p == 0.5).mean()), "none": float(np.isnan(p).mean())}


def _qualities(world: str, count: int, draw: np.random.Generator) -> np.ndarray:
    return draw.standard_normal(count) if world == WORLDS[0] else SCALE * (draw.random(count) < RIGHT)
