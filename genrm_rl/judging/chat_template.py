"""A model's own chat template: checked, rendered, and cut into the pieces that it puts around contents.

Its clock (``strftime_now``) stands still at :data:`CLOCK`: what a model is asked must not depend on the day.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from genrm_rl.errors import ModelError
from genrm_rl.preferences.types import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLOCK = datetime(2024, 7, 26)  # the day that Llama's templates show where they are given no clock
CHANCE = re.compile(r"\|\s*random\b")


class ChatTemplate:
    """The template of a tokenizer, with its ``arguments``.

    Raises ModelError if there is none, or one that draws at random or takes no such argument.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self._arguments = dict(arguments or {})
        if not tokenizer.chat_template:
            raise ModelError(
                f"The tokenizer of {tokenizer.name_or_path or 'the model'} has no chat template; use a chat "
                "(instruct) model, "
                "or add chat_template.jinja to its folder."
            )
        self._check_source()

    @cached_property
    def identity(self) -> str:
        """Hash of the template with its arguments and its clock: of all that it puts around a text."""
        marks = [str(getattr(self.tokenizer, name)) for name in ("bos_token", "eos_token")]
        return content_hash(self.tokenizer.chat_template, self._arguments, CLOCK.isoformat(), marks)

    def pieces(self, roles: tuple[str, ...], generation: bool) -> list[str]:
        """The template's own text before, between and after the contents of these roles."""
        marks = [f"GENRMxCONTENTx{index}x" for index in range(len(roles))]
        messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
        name = self.tokenizer.name_or_path or "the model"
        rest = self.render(messages, generation)
        pieces = []
        for mark, role in zip(marks, roles, strict=True):
            before, found, rest = rest.partition(mark)
            if not found or mark in rest:
                raise ModelError(
                    f"The chat template of {name} does not show the {role} turn exactly once, in its place."
                )
            pieces.append(before)
        return [*pieces, rest]

    def render(self, messages: Sequence[Mapping[str, str]], generation: bool) -> str:
        """The conversation as one text. Raises ModelError if the template refuses it."""
        try:
            return self.tokenizer.apply_chat_template(
                list(messages),
                tokenize=False,
                add_generation_prompt=generation,
                **{"strftime_now": CLOCK.strftime, **self._arguments},
            )
        except Exception as error:  # a template is a program: its faults are whatever Python raises
            reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
            raise ModelError(
                f"The chat template of {self.tokenizer.name_or_path or 'the model'} refuses the turns "
                f"{', '.join(message['role'] for message in messages)} ({reason}); mend it, or choose another model"
            ) from error

    def _check_source(self) -> None:
        """Raise ModelError for a template that is not the same twice, and for an argument that it does not ask for."""
        source, name = str(self.tokenizer.chat_template), self.tokenizer.name_or_path or "the model"
        if CHANCE.search(source):
            raise ModelError(f"The chat template of {name} draws at random (`| random`); take that out of it")
        unknown = next((key for key in self._arguments if not re.search(rf"\b{re.escape(key)}\b", source)), None)
        if unknown is not None:
            raise ModelError(
                f"The chat template of {name} does not ask for `{unknown}`; take it out of chat_template_kwargs"
            )
