"""Whether an answer's final result is the known one: exact match, as for gsm8k. Pure.

The final result of a text is, in this order: what is in its last ``\\boxed{...}``; what follows ``####`` (gsm8k's own
mark); for a known answer that is a number, the last number of the text, else its last line without ``Answer:``.
Thinking does not count, and a text that never comes to a result is wrong.
"""

from __future__ import annotations

import re
from fractions import Fraction

from genrm_rl.judging.thoughts import without_thoughts

_NUMBER = re.compile(r"(?<![\w.])[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|(?<![\w.])[-+]?\$?\.\d+")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}")
_NAMED = re.compile(r"^(?:the )?(?:final )?answer(?: is)?\s*:?\s*", re.IGNORECASE)
_BOXES = ("\\boxed{", "\\fbox{")
MARK = "####"
MOST_DIGITS = 400  # of one number; more is no result, and takes long to compare


def is_right(text: str, known: str) -> bool:
    """Whether the final result of ``text`` is ``known``: the same number, or the same words but for case, blanks and
    punctuation around them."""
    found = final_result(text, numeric=_value(known) is not None)
    if found is None:
        return False
    ours, theirs = _value(found), _value(known)
    return ours == theirs if ours is not None and theirs is not None else _plain(found) == _plain(known)


def final_result(text: str, *, numeric: bool) -> str | None:
    """What a text comes to, None if it comes to nothing."""
    spoken = without_thoughts(text)
    boxed = _last_box(spoken)
    if boxed is not None:
        return boxed
    if MARK in spoken:
        spoken = spoken.rpartition(MARK)[2]
    if numeric:
        numbers = _NUMBER.findall(spoken)
        return numbers[-1] if numbers else None
    lines = [line.strip() for line in spoken.splitlines() if line.strip()]
    return _NAMED.sub("", lines[-1]) if lines else None


def _last_box(text: str) -> str | None:
    """The content of the last box, braces inside it balanced; None without one, or if it never closes."""
    start = max(text.rfind(mark) for mark in _BOXES)
    if start < 0:
        return None
    begin = text.index("{", start) + 1
    depth = 1
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[begin:place]
    return None


def _value(text: str) -> Fraction | None:
    """The number that a text is, None if it is none: ``$1,000.50``, ``3/4``, ``\\frac{3}{4}``, ``12%`` is 12."""
    bare = _FRACTION.sub(r"\1/\2", text).strip().strip("$.").replace(",", "").replace("$", "").replace("\\%", "")
    bare = bare.rstrip("% ").replace("+", "", 1) if bare.startswith("+") else bare.rstrip("% ")
    if not bare or len(bare) > MOST_DIGITS or not re.fullmatch(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:/\d+)?", bare):
        return None
    whole, slash, below = bare.partition("/")
    if slash and int(below) == 0:
        return None
    return Fraction(whole.rstrip(".")) / (int(below) if slash else 1)


def _plain(text: str) -> str:
    inner = re.sub(r"\\(?:text|mathrm)\{([^{}]*)\}", r"\1", text)
    return " ".join(inner.split()).strip(" .,;:!$*\"'`()").casefold()
