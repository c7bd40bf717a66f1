"""What an answer says once its writer has thought: reasoning policies put ``<think>...</think>`` before it."""

from __future__ import annotations

import re

from genrm_rl.judging.verdicts import END_OF_THINKING, THINK
from genrm_rl.preferences.types import Comparison

_BLOCK = re.compile(f"{THINK}.*?{END_OF_THINKING}", re.DOTALL)


def never_answers(text: str) -> bool:
    """Whether ``text`` begins to think and never ends it, so that there is no answer in it."""
    return text.lstrip().startswith(THINK) and END_OF_THINKING not in text


def lacks_answer(comparison: Comparison) -> bool:
    """Whether one of the two answers is none."""
    return never_answers(comparison.response_a) or never_answers(comparison.response_b)


def thought_and_answer(text: str) -> tuple[str | None, str]:
    """The thinking at the start of ``text``, without its marks and None if there is none, and what follows it."""
    if not text.lstrip().startswith(THINK):
        return None, text
    thought, _, answer = text.lstrip().removeprefix(THINK).partition(END_OF_THINKING)
    return thought.strip("\n"), answer.lstrip("\n")


def without_thoughts(text: str) -> str:
    """``text`` without thinking, which is at its start, or before a ``</think>`` whose beginning the policy's prompt
    wrote; later blocks of such an answer go too. Thinking that never ends leaves no answer (an empty text). The words
    ``<think>`` inside any other answer are words.
    """
    opened = text.lstrip().startswith(THINK)
    thought, end, answer = text.partition(END_OF_THINKING)
    if not opened and (not end or THINK in thought):
        return text
    return _BLOCK.sub("", answer).strip() if end else ""
