"""What an answer says once its writer has thought: reasoning policies put ``<think>...</think>`` before it."""

from __future__ import annotations

import re

from genrm_rl.judging.verdicts import END_OF_THINKING, THINK

_BLOCK = re.compile(f"{THINK}.*?{END_OF_THINKING}", re.DOTALL)


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
