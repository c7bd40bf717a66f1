"""Five families of short tasks with one right answer each, and where each question may be used.

A question is a line of text such as ``add 7 8 5`` or ``rev bdea``. Everything else (its answer, the work that leads to
it, a near miss, its partition) is computed from that text alone: files and streams need to carry nothing but questions.
"""

from __future__ import annotations

import hashlib
import random
from typing import Literal, get_args

from genrm_rl.errors import DataError

Family = Literal["add", "sort", "count", "rev", "max"]
Length = Literal["short", "long"]
Partition = Literal["pretrain", "train", "gate", "test"]

FAMILIES: tuple[Family, ...] = get_args(Family)
LABELLED_FAMILIES: tuple[Family, ...] = ("add", "sort", "count")
UNLABELLED_FAMILIES: tuple[Family, ...] = ("rev", "max")

# A question's hash decides which partition may use it: no list of used questions has to be kept anywhere.
PARTITION_BUCKETS: dict[Partition, range] = {
    "pretrain": range(0, 60),
    "train": range(60, 80),
    "gate": range(80, 85),
    "test": range(85, 100),
}

# Operands (add, max) or letters (sort, count, rev) per question; a repeated size is drawn more often.
SIZES: dict[Family, dict[Length, tuple[int, ...]]] = {
    "add": {"short": (3, 4, 4, 4), "long": (5, 6)},
    "sort": {"short": (4, 5), "long": (6, 7)},
    "count": {"short": (5, 6, 7, 8), "long": (9, 10, 11)},
    "rev": {"short": (4, 5), "long": (6, 7)},
    "max": {"short": (3, 4), "long": (5, 6)},
}
ORDERED_LETTERS = "abcdefghij"
COUNTED_LETTERS = "abcd"


def partition_of(question: str) -> Partition:
    """The only partition in which this question may appear (hash of its text, modulo 100)."""
    bucket = int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big") % 100
    return next(name for name, buckets in PARTITION_BUCKETS.items() if bucket in buckets)


def draw_question(rng: random.Random, family: Family, length: Length) -> str:
    """A question of any partition."""
    size = rng.choice(SIZES[family][length])
    if family == "add":
        return "add " + " ".join(str(rng.randrange(10)) for _ in range(size))
    if family == "max":
        return "max " + " ".join(str(rng.randrange(10, 100)) for _ in range(size))
    if family == "count":
        letters = "".join(rng.choice(COUNTED_LETTERS) for _ in range(size))
        return f"count {rng.choice(COUNTED_LETTERS)} in {letters}"
    return f"{family} " + "".join(rng.sample(ORDERED_LETTERS, size))


def draw_question_in(rng: random.Random, partition: Partition, family: Family, length: Length) -> str:
    """A question that belongs to ``partition``."""
    while True:
        question = draw_question(rng, family, length)
        if partition_of(question) == partition:
            return question


def family_of(question: str) -> Family:
    """The family named by the question's first word. Raises DataError for a question of no family."""
    word = question.split(" ", 1)[0]
    if word not in FAMILIES:
        raise DataError(f"{question!r} is not a task-world question: it must start with one of {', '.join(FAMILIES)}.")
    return word  # type: ignore[return-value]


def solve(question: str) -> str:
    """The one right answer."""
    family, rest = family_of(question), question.split(" ", 1)[-1]
    if family == "add":
        return str(sum(int(number) for number in rest.split()))
    if family == "max":
        return str(max(int(number) for number in rest.split()))
    if family == "count":
        letter, _, letters = rest.split(" ")
        return str(letters.count(letter))
    return "".join(sorted(rest)) if family == "sort" else rest[::-1]


def show_work(question: str, result: str) -> str:
    """The written work of a careful judge, ending in ``result`` (which a slip of the pen may have made wrong).

    ``add 7 8 5`` -> ``7+8=15+5=20:20``; ``count b in dbb`` -> ``d0b1b2:2``; ``max 21 53 87`` -> ``21,53>53,87>87:87``;
    ``sort`` and ``rev`` just write the result down.
    """
    family, rest = family_of(question), question.split(" ", 1)[-1]
    if family in ("sort", "rev"):
        return result
    if family == "count":
        letter, _, letters = rest.split(" ")
        return "".join(f"{seen}{letters[: i + 1].count(letter)}" for i, seen in enumerate(letters)) + f":{result}"
    numbers = [int(number) for number in rest.split()]
    work, running = str(numbers[0]), numbers[0]
    for number in numbers[1:]:
        running = running + number if family == "add" else max(running, number)
        work += f"+{number}={running}" if family == "add" else f",{number}>{running}"
    return f"{work}:{result}"


def near_miss(rng: random.Random, question: str) -> str:
    """A wrong answer that looks right: off by little, two neighbours exchanged, another element of the list."""
    gold = solve(question)
    while True:
        candidate = _perturb(rng, question, gold)
        if candidate != gold:
            return candidate


def _perturb(rng: random.Random, question: str, gold: str) -> str:
    family, rest = family_of(question), question.split(" ", 1)[-1]
    if family == "add":
        return str(max(0, int(gold) + rng.choice((-10, -3, -2, -1, -1, 1, 1, 2, 3, 10))))
    if family == "count":
        return str(max(0, int(gold) + rng.choice((-2, -1, -1, 1, 1, 2))))
    if family == "max":
        if rng.random() < 0.5:
            return rng.choice(rest.split())
        return str(int(gold) + rng.choice((-10, -1, 1, 10)))
    draw = rng.random()
    if draw < 0.6:
        i = rng.randrange(len(gold) - 1)
        return gold[:i] + gold[i + 1] + gold[i] + gold[i + 2 :]
    if draw < 0.9:
        i = rng.randrange(len(gold))
        return gold[:i] + rng.choice(ORDERED_LETTERS) + gold[i + 1 :]
    return rest
