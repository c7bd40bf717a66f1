"""Small learnable examples for the shipped model, in token ids only."""

from __future__ import annotations

import random

import pytest

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.examples import LabeledExample, PairExample, SequenceExample, VerdictExample

FLOAT32 = LearnerConfig(precision="float32", cpus_per_worker=1, tokens_per_microbatch=600, warmup_ratio=0.0)
GOOD, BAD = 40, 50  # token ids that the examples reward and punish


class Maker:
    """Draws examples; the same seed gives the same ones."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def ids(self, low: int, high: int) -> tuple[int, ...]:
        """Between ``low`` and ``high`` random tokens."""
        return tuple(self.random.randrange(60, 110) for _ in range(self.random.randint(low, high)))

    def sequences(self, count: int) -> list[SequenceExample]:
        """A random prompt, then as many GOOD tokens as wished."""
        return [
            SequenceExample.from_completion(self.ids(4, 30), (GOOD,) * self.random.randint(1, 12), f"s{i}")
            for i in range(count)
        ]

    def verdicts(self, count: int) -> list[VerdictExample]:
        """Whether it is GOOD or BAD that stands before the other says which letter is right (80 or 81)."""
        return [
            VerdictExample((*ids, GOOD, BAD), (*ids, BAD, GOOD), (80, 81), f"v{i}")
            for i, ids in enumerate(self.ids(4, 30) for _ in range(count))
        ]

    def pairs(self, count: int) -> list[PairExample]:
        """GOOD tokens are preferred to BAD ones."""
        return [
            PairExample.from_completions(
                self.ids(4, 20),
                (*self.ids(1, 6), *(GOOD,) * self.random.randint(1, 4)),
                (*self.ids(1, 6), *(BAD,) * self.random.randint(1, 4)),
                f"p{i}",
            )
            for i in range(count)
        ]

    def labeled(self, count: int) -> list[LabeledExample]:
        """Label 1 if the sequence ends in GOOD."""
        return [LabeledExample((*self.ids(4, 20), GOOD if i % 2 else BAD), i % 2, f"l{i}") for i in range(count)]


@pytest.fixture
def maker() -> Maker:
    """A fresh drawer of examples."""
    return Maker()


@pytest.fixture
def float32() -> LearnerConfig:
    """One thread, exact arithmetic, a small token budget."""
    return FLOAT32
