"""The policy's chat template, taken off the texts that a trainer sends, so that a judge sees question and answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from genrm_rl.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTINEL = "\u241fthe question\u241f"
DATE = "\u241fa date\u241f"


def _any_date(text: str) -> str:
    """A pattern of a template's own text: the trainer may have rendered it on any day."""
    return re.escape(text).replace(re.escape(DATE), r"[^\n]{1,60}?")


class PolicyFormat:
    """What ``tokenizer`` puts around one user turn and behind an answer; None takes texts as they are."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._before = self._after = ""
        self._special: tuple[str, ...] = ()
        if tokenizer is None:
            return
        self._special = tuple(tokenizer.all_special_tokens)
        if tokenizer.chat_template:
            turns = [{"role": "user", "content": SENTINEL}]
            rendered = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, strftime_now=lambda form: DATE
            )
            self._before, self._after = (_any_date(part) for part in rendered.split(SENTINEL))

    def split(self, query: str, prompt: str) -> tuple[str, str]:
        """Question and answer. Raises DataError if ``query`` does not begin with ``prompt``."""
        if not query.startswith(prompt):
            raise DataError(
                "query does not begin with its prompt; was the prompt cut to the policy's context, or are "
                "serving.policy_tokenizer and the policy different?"
            )
        return self.question(prompt), self.answer(query[len(prompt) :])

    def question(self, prompt: str) -> str:
        """The user's turn of a prompt that the template wrote; any other prompt as it is."""
        found = re.fullmatch(f"{self._before}(?P<question>.*){self._after}", prompt, re.DOTALL)
        return found["question"] if found else prompt

    def answer(self, text: str) -> str:
        """A generated text without special tokens and blanks at its end."""
        text = text.rstrip()
        while ending := next((token for token in self._special if text.endswith(token)), None):
            text = text.removesuffix(ending).rstrip()
        return text
