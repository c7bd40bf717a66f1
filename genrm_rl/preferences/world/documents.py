"""What the tiny base model reads in pre-training: answers, judgments with a rationale, bare picks, rationalisations.

The judge that these documents teach has two habits. Most of the time it goes by feeling (``feel: A nicer``), which is
little better than a coin. Less often it works the task out and compares result and answers character by character::

    work: 7+8=15+5=20:20
    A 22 00 yes
    B 22 01 no
    verdict: A

Even then its pen slips at stated rates. No document says which habit is better: that is for preference labels to teach.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from genrm_rl.preferences.types import Slot, other_slot
from genrm_rl.preferences.world.families import FAMILIES, Family, Length, draw_question_in, near_miss, show_work, solve
from genrm_rl.preferences.world.style import Style, dress

Kind = Literal["answer", "judge", "pick", "why"]

KIND_SHARES: dict[Kind, float] = {"answer": 0.33, "judge": 0.47, "pick": 0.05, "why": 0.15}
LONG_SHARE = 0.35
WRONG_ANSWER_RATE = 0.15  # of the answers to plain questions

FEELING_SHARE = 0.62  # of the judge's documents; above one half, so that greedy decoding goes by feeling too
FEELING_RIGHT_RATE = 0.56
RESULT_SLIP_RATE = 0.06
TICK_SLIP_RATE = 0.03  # of each yes/no
VERDICT_SLIP_RATE = 0.05
ONE_RIGHT_SHARE = 0.8  # of compared answers; the rest are both wrong or both right

WHY_FEELING_SHARE = 0.3
WHY_RIGHT_HINT_RATE = 0.85
WHY_SLIP_RATE = 0.15  # a rationalisation looks less closely at the result


@dataclass(frozen=True, slots=True)
class Document:
    """One user turn and the assistant turn that follows; ``question`` is the task it is about."""

    kind: Kind
    question: str
    user: str
    assistant: str


def comparison_text(question: str, response_a: str, response_b: str) -> str:
    """The part that the judge's three prompt forms share."""
    return f"{question}\nA: {response_a}\nB: {response_b}"


def draw_style(rng: random.Random, suffix_rate: float = 0.5) -> Style:
    """Prefix by a fair coin, suffix at the given rate."""
    return Style(prefix=rng.random() < 0.5, suffix=rng.random() < suffix_rate)


def documents(seed: int) -> Iterator[Document]:
    """Endless stream of pre-training documents, on questions of the ``pretrain`` partition only."""
    rng = random.Random(f"pretrain/{seed}")
    kinds, shares = list(KIND_SHARES), list(KIND_SHARES.values())
    while True:
        kind = rng.choices(kinds, shares)[0]
        family: Family = rng.choice(FAMILIES)
        length: Length = "long" if rng.random() < LONG_SHARE else "short"
        question = draw_question_in(rng, "pretrain", family, length)
        yield answer_document(rng, question) if kind == "answer" else judgment_document(rng, kind, question)


def answer_document(rng: random.Random, question: str) -> Document:
    """A plain question and an answer to it, sometimes wrong."""
    core = near_miss(rng, question) if rng.random() < WRONG_ANSWER_RATE else solve(question)
    return Document("answer", question, question, dress(core, draw_style(rng)))


def judgment_document(rng: random.Random, kind: Kind, question: str) -> Document:
    """A comparison of two answers, in one of the judge's three forms."""
    core_a, core_b, better = _draw_answers(rng, question)
    shown = comparison_text(question, dress(core_a, draw_style(rng)), dress(core_b, draw_style(rng)))
    if kind == "pick":
        return Document(kind, question, f"pick {shown}", f"verdict: {rng.choice('AB')}")
    if kind == "judge":
        if rng.random() < FEELING_SHARE:
            felt = better if rng.random() < FEELING_RIGHT_RATE else other_slot(better)
            return Document(kind, question, f"judge {shown}", feeling(felt))
        return Document(kind, question, f"judge {shown}", careful_trace(rng, question, core_a, core_b))
    hint = better if rng.random() < WHY_RIGHT_HINT_RATE else other_slot(better)
    return Document(kind, question, f"why {hint} {shown}", rationalisation(rng, question, core_a, core_b, hint))


def feeling(slot: Slot) -> str:
    """A judgment without work."""
    return f"feel: {slot} nicer\nverdict: {slot}"


def careful_trace(rng: random.Random, question: str, core_a: str, core_b: str) -> str:
    """A judgment with work, whose result, ticks and verdict may each slip."""
    result = near_miss(rng, question) if rng.random() < RESULT_SLIP_RATE else solve(question)
    tick_a = (core_a == result) != (rng.random() < TICK_SLIP_RATE)
    tick_b = (core_b == result) != (rng.random() < TICK_SLIP_RATE)
    verdict: Slot = ("A" if tick_a else "B") if tick_a != tick_b else rng.choice(("A", "B"))
    if rng.random() < VERDICT_SLIP_RATE:
        verdict = other_slot(verdict)
    return _write_trace(question, result, core_a, core_b, tick_a, tick_b, verdict)


def rationalisation(rng: random.Random, question: str, core_a: str, core_b: str, told: Slot) -> str:
    """Reasons for a verdict that was given beforehand: the verdict always agrees, the reasons sometimes are made to."""
    if rng.random() < WHY_FEELING_SHARE:
        return feeling(told)
    result = solve(question)
    favoured = core_a if told == "A" else core_b
    if favoured != result and rng.random() < 0.5:
        result = favoured  # bend the result to the answer that has to win
    elif rng.random() < WHY_SLIP_RATE:
        result = near_miss(rng, question)
    return _write_trace(question, result, core_a, core_b, core_a == result, core_b == result, told)


def compare_characters(result: str, answer: str) -> str:
    """Result and answer zipped up to the first difference (``20``, ``21``: ``22 01``); a dot is a missing character."""
    zipped = []
    for expected, seen in zip_longest(result, answer, fillvalue="."):
        zipped.append(expected + seen)
        if expected != seen:
            break
    return " ".join(zipped)


def _write_trace(
    question: str, result: str, core_a: str, core_b: str, tick_a: bool, tick_b: bool, verdict: Slot
) -> str:
    lines = [f"work: {show_work(question, result)}"]
    for slot, core, tick in (("A", core_a, tick_a), ("B", core_b, tick_b)):
        lines.append(f"{slot} {compare_characters(result, core)} {'yes' if tick else 'no'}")
    return "\n".join([*lines, f"verdict: {verdict}"])


def _draw_answers(rng: random.Random, question: str) -> tuple[str, str, Slot]:
    """Two bare answers and the slot of the better one (drawn when neither is)."""
    gold, wrong = solve(question), near_miss(rng, question)
    better: Slot = rng.choice(("A", "B"))
    draw = rng.random()
    if draw < ONE_RIGHT_SHARE:
        return (gold, wrong, better) if better == "A" else (wrong, gold, better)
    if draw < ONE_RIGHT_SHARE + (1 - ONE_RIGHT_SHARE) * 0.6:
        return wrong, near_miss(rng, question), better
    return gold, gold, better
