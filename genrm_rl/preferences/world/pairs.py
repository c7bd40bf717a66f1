"""Streams of verified preference pairs and of plain questions: seeded, endless if wished, the same on every machine."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genrm_rl.errors import DataError
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.preferences.world.documents import draw_style
from genrm_rl.preferences.world.families import (
    FAMILIES,
    LABELLED_FAMILIES,
    PARTITION_BUCKETS,
    UNLABELLED_FAMILIES,
    Family,
    Length,
    Partition,
    draw_question_in,
    near_miss,
    solve,
)
from genrm_rl.preferences.world.style import dress

SOURCE = "task-world"
CUE_NEUTRAL, CUE_REVERSED = 0.5, 0.0
_FRESH_DRAWS = 60  # after so many draws without a new question, a family's questions count as used up


@dataclass(frozen=True, slots=True)
class PairSet:
    """What distinguishes one set of pairs: partition, families, length, and how far style gives the label away.

    ``cue`` is the probability that the chosen answer wears the polite suffix; the rejected one wears it with
    ``1 - cue``. None means: as in training.
    """

    partition: Partition
    families: tuple[Family, ...] = LABELLED_FAMILIES
    length: Length = "short"
    cue: float | None = None


PAIR_SETS: dict[str, PairSet] = {
    "train": PairSet("train"),
    "gate": PairSet("gate"),
    "id": PairSet("test"),
    "id_neutral": PairSet("test", cue=CUE_NEUTRAL),
    "long_neutral": PairSet("test", length="long", cue=CUE_NEUTRAL),
    "family_neutral": PairSet("test", families=UNLABELLED_FAMILIES, cue=CUE_NEUTRAL),
    "style_reversed": PairSet("test", cue=CUE_REVERSED),
}


def world_pairs(
    split: str,
    n: int | None,
    seed: int,
    *,
    cue: float,
    label_noise: float = 0.0,
    families: Sequence[Family] | None = None,
    length: Length | None = None,
) -> Iterator[PreferencePair]:
    """Stream ``n`` pairs (None: without end) of one of ``PAIR_SETS``; ``families`` and ``length`` override its own.

    ``cue`` is the training data's style cue in [0, 1]: the chance that the *recorded* chosen answer wears the suffix,
    and one minus the chance that the rejected one does (0.5: style says nothing). Sets with a cue of their own ignore
    it. ``label_noise`` is the share of pairs whose label is exchanged. Families take turns. A question is not repeated
    until its family's questions are used up; after that only pairs with another answer text appear. Streams with the
    same arguments are equal, and a shorter one is the beginning of a longer one.

    Raises DataError for an unknown split or a probability outside [0, 1].
    """
    chosen_set = pair_set(split)
    rate = cue if chosen_set.cue is None else chosen_set.cue
    for name, value in (("cue", cue), ("label_noise", label_noise)):
        if not 0 <= value <= 1:
            raise DataError(f"The task world's {name} is a probability: it must lie in [0, 1], not {value}.")
    families = tuple(families or chosen_set.families)
    length = length or chosen_set.length
    drawn = _draw_questions(f"pairs/{split}/{seed}", chosen_set.partition, families, length)
    seen: set[str] = set()
    pairs = (_make_pair(rng, question, length, rate, label_noise) for rng, question in drawn)
    fresh = (pair for pair in pairs if pair.id not in seen and not seen.add(pair.id))  # type: ignore[func-returns-value]
    return itertools.islice(fresh, n)


def questions(
    partition: Partition,
    n: int | None,
    seed: int,
    *,
    families: Sequence[Family] = FAMILIES,
    length: Length = "short",
) -> Iterator[str]:
    """Stream ``n`` plain questions (None: without end) for a policy, families in turn; ``verify`` judges answers."""
    if partition not in PARTITION_BUCKETS:
        raise DataError(f"Unknown partition {partition!r}: choose one of {', '.join(PARTITION_BUCKETS)}.")
    drawn = _draw_questions(f"questions/{partition}/{seed}", partition, tuple(families), length)
    return itertools.islice((question for _, question in drawn), n)


def pair_set(split: str) -> PairSet:
    """The named set. Raises DataError, listing the names, for an unknown one."""
    if split not in PAIR_SETS:
        raise DataError(f"Unknown task-world set {split!r}: choose one of {', '.join(PAIR_SETS)}.")
    return PAIR_SETS[split]


def _draw_questions(
    name: str, partition: Partition, families: tuple[Family, ...], length: Length
) -> Iterator[tuple[random.Random, str]]:
    """Questions, each with the generator (seeded by stream name and index) that its answers are drawn with."""
    used: defaultdict[Family, set[str]] = defaultdict(set)
    for index in itertools.count():
        rng = random.Random(f"{name}/{index}")
        family = families[index % len(families)]
        for _ in range(_FRESH_DRAWS):
            question = draw_question_in(rng, partition, family, length)
            if question not in used[family]:
                break
        else:
            used[family].clear()  # all used: a new round begins
        used[family].add(question)
        yield rng, question


def _make_pair(rng: random.Random, question: str, length: Length, cue: float, label_noise: float) -> PreferencePair:
    gold, wrong = solve(question), near_miss(rng, question)
    flipped = rng.random() < label_noise
    core_chosen, core_rejected = (wrong, gold) if flipped else (gold, wrong)
    style_chosen, style_rejected = draw_style(rng, cue), draw_style(rng, 1 - cue)
    return PreferencePair.create(
        question,
        dress(core_chosen, style_chosen),
        dress(core_rejected, style_rejected),
        source=SOURCE,
        category=question.split(" ", 1)[0],
        label_source="verified",
        meta={
            "question": question,
            "length": length,
            "gold": gold,
            "wrong": wrong,
            "label_flipped": flipped,
            "style_chosen": style_chosen.as_dict(),
            "style_rejected": style_rejected.as_dict(),
        },
    )
