"""The policy's chat template, taken off the texts that a trainer sends, so that a judge sees question and answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from genrm_rl.errors import DataError
from genrm_rl.judging.verdicts import END_OF_THINKING, THINK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTINEL = "\u241fthe question\u241f"
DATE = "\u241fa date\u241f"
_OPENED = re.compile(rf"(?:{THINK}\s*(?:{END_OF_THINKING}\s*)?)?\Z")


def _any_date(text: str) -> str:
    """A pattern of a template's own text: the trainer may have rendered it on any day."""
    return re.escape(text).replace(re.escape(DATE), r"[^\n]{1,60}?")


def opens_thinking(prompt: str) -> bool:
    """Whether what follows ``prompt`` is written inside ``<think>``."""
    return prompt.rstrip().endswith(THINK)


class PolicyFormat:
    """What ``tokenizer`` puts around one user turn and behind an answer; None takes texts as they are."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._before = self._after = ""
        self._opens_thinking = False
        self._special: tuple[str, ...] = ()
        if tokenizer is None:
            return
        marks = (THINK, END_OF_THINKING)
        added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        # The token that ends a turn need not be one of the tokenizer's few named ones.
        special = dict.fromkeys([*tokenizer.all_special_tokens, *added])
        self._special = tuple(token for token in special if token not in marks)
        if tokenizer.chat_template:
            turns = [{"role": "user", "content": SENTINEL}]
            rendered = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, strftime_now=lambda form: DATE
            )
            before, after = rendered.split(SENTINEL)
            self._opens_thinking = opens_thinking(after)
            # A template's argument (enable_thinking) decides whether thinking is opened, or ended at once.
            bare = _OPENED.sub("", after)
            self._before, self._after = _any_date(before), f"{_any_date(bare)}{_OPENED.pattern}"

    def split(self, query: str, prompt: str) -> tuple[str, str]:
        """Question and answer. Raises DataError if ``query`` does not begin with ``prompt``."""
        if not query.startswith(prompt):
            raise DataError(
                "query does not begin with its prompt; was the prompt cut to the policy's context, or are "
                "serving.policy_tokenizer and the policy different?"
            )
        return self.question(prompt), self.answer(query[len(prompt) :], prompt)

    def question(self, prompt: str) -> str:
        """The user's turn of a prompt that the template wrote; any other prompt as it is."""
        found = re.fullmatch(f"{self._before}(?P<question>.*){self._after}", prompt, re.DOTALL)
        return found["question"] if found else prompt

    def answer(self, text: str, prompt: str | None = None) -> str:
        """A generated text without special tokens and blanks at its end; thinking that its prompt opened (None: as the
        template's does) begins with its mark, so that one which never ends is known for what it is."""
        text = text.rstrip()
        opened = self._opens_thinking if prompt is None else opens_thinking(prompt)
        if opened and not text.lstrip().startswith(THINK):
            text = f"{THINK}\n{text}"
        while ending := next((token for token in self._special if text.endswith(token)), None):
            text = text.removesuffix(ending).rstrip()
        return text
