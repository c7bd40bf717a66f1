"""What a label says about two answers: the first, the second, or a tie. What it may not mean is refused."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from genrm_rl.errors import DataError
from genrm_rl.preferences.turns import BadRow, kind_of

Outcome = Literal["first", "second", "tie"]

TIE_WORDS = frozenset({"tie", "tied", "draw", "equal", "same", "both", "neither", "bothbad", "tie(bothbad)", "a=b"})
_ANSWERS = ("", "response", "answer", "model", "assistant", "option", "output", "completion", "candidate")
_FIRST = {"first", "left", "a>b", "a>>b", "b<a", "b<<a"} | {f"{noun}a" for noun in _ANSWERS}
_SECOND = {"second", "right", "b>a", "b>>a", "a<b", "a<<b"} | {f"{noun}b" for noun in _ANSWERS}
_FIRST |= {f"{noun}1" for noun in _ANSWERS if noun}
_SECOND |= {f"{noun}2" for noun in _ANSWERS if noun}
KNOWN = "A, B, A>B, B>A, A=B, first, second, response_a, model_b, response_1, tie"
_PUNCTUATION = re.compile(r"[\s_.*\[\]-]")


def read_label(value: Any, name: str, first_is: int | None, place: str) -> Outcome:
    """``first_is`` is the number that says that the first answer won, where labels are numbers.

    Raises BadRow for a label that says nothing known, DataError for numbers that could mean two things.
    """
    number = _whole(value)
    if number is not None:
        if first_is is None:
            raise DataError(
                f"{place}: `{name}` is {number}, which may mean the first or the second answer; set the source's "
                "`first_is` to 0 (0 first, 1 second, 2 tie) or to 1 (1 first, 2 second, 0 tie)"
            )
        meanings: tuple[Outcome, ...] = ("first", "second", "tie") if first_is == 0 else ("tie", "first", "second")
        if 0 <= number <= 2:
            return meanings[number]
        raise BadRow("unknown_label", f"`{name}` is {number}; numbers say 0, 1 or 2")
    if not isinstance(value, str):
        raise BadRow("unknown_label", f"`{name}` is {kind_of(value)}; it must say which answer won")
    word = _PUNCTUATION.sub("", value).lower()
    if word in TIE_WORDS:
        return "tie"
    if word in _FIRST or word in _SECOND:
        return "first" if word in _FIRST else "second"
    raise BadRow("unknown_label", f"`{name}` is {value!r:.40}, which is no known label; use {KNOWN}")


def read_strength(value: Any, name: str) -> tuple[Outcome, int]:
    """HelpSteer's scale: -3 (the first is much better) to 3 (the second is), 0 a tie. Outcome and absolute strength."""
    number = _whole(value)
    if number is None or not -3 <= number <= 3:
        raise BadRow("unknown_label", f"`{name}` is {value!r:.40}; it runs from -3 (first) over 0 (tie) to 3 (second)")
    return "tie" if number == 0 else "first" if number < 0 else "second", abs(number)


def read_number(value: Any, name: str) -> Decimal:
    """A finite number, also as decimal or text. Raises BadRow."""
    try:
        number = Decimal("nan") if isinstance(value, bool) else Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise BadRow("wrong_type", f"`{name}` is {value!r:.40}, not a finite number")
    return number


def is_tie(value: Any) -> bool:
    """Whether a word says that neither answer won."""
    return isinstance(value, str) and _PUNCTUATION.sub("", value).lower() in TIE_WORDS


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    small = number.is_finite() and abs(number) < 1000  # a larger one has as many digits as its exponent says
    return int(number) if small and number == int(number) else None
