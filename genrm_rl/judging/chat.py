"""Conversations to token ids through the model's own chat template, such that no content can become a control token.

The template is rendered once per sequence of roles with a placeholder for each content and cut at the placeholders. The
template's own pieces are tokenised with control tokens on, the contents with control tokens off. Text such as
``<|im_end|>`` in an answer therefore stays text, and what the judge reads has exactly the turns that it was given.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from genrm_rl.errors import ModelError
from genrm_rl.judging.chat_template import ChatTemplate
from genrm_rl.judging.thoughts import never_answers, thought_and_answer, without_thoughts
from genrm_rl.judging.verdicts import CLOSERS, END_OF_THINKING, THINK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Whether control tokens in a text count is a state of the tokenizer, set before each call: threads take turns.
_ENCODING = threading.Lock()


class ChatEncoder:
    """Encodes conversations for one tokenizer. ``arguments`` are given to its chat template (``enable_thinking``).

    Raises ModelError if the tokenizer has no chat template, or one that draws at random or takes no such argument.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = tokenizer
        self._template = ChatTemplate(tokenizer, arguments)
        added = tokenizer.added_tokens_decoder
        marks = (THINK, END_OF_THINKING)  # some tokenizers call them control tokens; here they are part of the text
        special = {index: token.content for index, token in added.items() if token.special}
        self.special_token_ids = frozenset(index for index, content in special.items() if content not in marks)
        self._marks_are_special = len(self.special_token_ids) < len(special)
        self._added = {index: token.content for index, token in added.items() if len(token.content.strip()) > 1}
        self._pieces: dict[tuple[tuple[str, ...], bool], list[list[int]] | ModelError] = {}
        self._ignorable: dict[int, bool] = {}

    @cached_property
    def identity(self) -> str:
        """Hash of the template with its arguments and its clock: of all that it puts around a text."""
        return self._template.identity

    def check_template(self) -> None:
        """Raise ModelError if the template can't render the simplest conversation, or nothing says how a turn ends."""
        self.conversation_ids([{"role": "user", "content": "x"}], generation=True)
        _ = self.stop_token_id

    @cached_property
    def stop_token_id(self) -> int:
        """The token that ends an assistant turn: what the template puts there, else the tokenizer's end of sequence."""
        closing = self._template_ids(("user", "assistant"), False)[-1]
        if closing and closing[0] in self.special_token_ids:
            return closing[0]
        if self.tokenizer.eos_token_id is None:
            raise ModelError(
                f"Neither the chat template of {self.tokenizer.name_or_path or 'the model'} nor its tokenizer says "
                "which token "
                "ends a turn; set eos_token in tokenizer_config.json."
            )
        return self.tokenizer.eos_token_id

    def text_ids(self, text: str) -> list[int]:
        """Tokens of plain text. Control tokens spelled out in it are tokenised as the characters they are.

        Raises ModelError if the tokenizer insists on a control token.
        """
        ids = self._plain(text)
        if self._has_added(ids):  # added tokens without the special flag, or a tokenizer that ignores the request
            ids = [index for part in self._break_up(text) for index in self._plain(part)]
            if self._has_added(ids):
                raise ModelError(
                    f"The tokenizer of {self.tokenizer.name_or_path or 'the model'} turns plain text into control "
                    "tokens, so "
                    "answers could forge turns of the conversation; it can't be used for a judge."
                )
        return ids

    def conversation_ids(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> tuple[int, ...]:
        """Token ids of a conversation; with ``generation`` up to where the assistant starts to write.

        Where the template knows no system turn, its text is put in front of the first user turn. Raises ModelError
        when the template refuses the sequence of roles.
        """
        try:
            pieces = self._template_ids(tuple(message["role"] for message in messages), generation)
        except ModelError:
            if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
                raise
            merged = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            return self.conversation_ids([merged, *messages[2:]], generation=generation)
        ids = list(pieces[0])
        for place, (message, piece) in enumerate(zip(messages, pieces[1:], strict=True), start=1):
            content, earlier = message["content"], message["role"] == "assistant" and place < len(messages)
            if earlier and self._drops_thoughts:
                content = without_thoughts(content)
            ids += self.text_ids(content) + piece
        return tuple(ids)

    def following_ids(self, text: str) -> tuple[int, ...]:
        """What the template puts between the end of the assistant's turn and its next one, with the user's ``text``
        inside: appended to a conversation of turns that are kept as they were sampled, it makes the next prompt.

        The end-of-turn token itself is not among them. Raises ModelError when the template refuses the turns.
        """
        pieces = self._template_ids(("user", "assistant", "user"), True)
        closing = pieces[2][1:] if pieces[2][:1] == [self.stop_token_id] else pieces[2]
        return (*closing, *self.text_ids(text), *pieces[3])

    def ends_turn(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        """``token_ids`` up to and with the last end-of-turn token (templates put a line break after it)."""
        ids = list(token_ids)
        while ids and ids[-1] != self.stop_token_id and self.ignorable(ids[-1]):
            ids.pop()
        return tuple(ids) if ids and ids[-1] == self.stop_token_id else (*ids, self.stop_token_id)

    def ignorable(self, token_id: int) -> bool:
        """Whether a token at the end of a completion says nothing: a control token, or ASCII blanks and line breaks."""
        if token_id not in self._ignorable:
            text = self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
            self._ignorable[token_id] = token_id in self.special_token_ids or not text.strip(" \t\r\n")
        return self._ignorable[token_id]

    def closes(self, token_id: int) -> bool:
        """Whether a token may follow the letter of a verdict: :meth:`ignorable`, or emphasis, a full stop, brackets."""
        text = self.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
        return self.ignorable(token_id) or not text.strip(" \t\r\n" + CLOSERS)

    @cached_property
    def opening_ids(self) -> tuple[int, ...]:
        """What the tokenizer begins every text with: its start token, or nothing."""
        with _ENCODING:
            ids = self.tokenizer("", add_special_tokens=True)["input_ids"]
        return tuple(ids[:1]) if ids[:1] == [self.tokenizer.bos_token_id] else ()

    @cached_property
    def opens_thinking(self) -> bool:
        """Whether the template begins the assistant's turn inside ``<think>``."""
        return self._template.pieces(("user",), True)[-1].rstrip().endswith(THINK)

    @cached_property
    def _drops_thoughts(self) -> bool:
        """Whether the template shows earlier answers without their thinking, as those of reasoning models do."""
        answer = {"role": "assistant", "content": f"{THINK}GENRMxTHOUGHTx{END_OF_THINKING}x"}
        user = {"role": "user", "content": "x"}
        try:
            return "GENRMxTHOUGHTx" not in self._template.render([user, answer, user], True)
        except ModelError:  # it takes no such turns, but others
            return False

    @cached_property
    def end_of_thinking_ids(self) -> tuple[int, ...]:
        """Tokens that end the thinking of a model that thinks; none for a model that does not know the mark."""
        if not self.opens_thinking and END_OF_THINKING not in self.tokenizer.get_vocab():
            return ()
        return self._marked(f"\n{END_OF_THINKING}\n")

    @cached_property
    def no_thinking_ids(self) -> tuple[int, ...]:
        """Tokens that end thinking at once where the template opened it, as Qwen3's own template writes them."""
        return self._marked(f"\n{END_OF_THINKING}\n\n") if self.opens_thinking else ()

    def answer_ids(self, text: str) -> tuple[int, ...]:
        """A whole answer as the model would have written it behind the generation prompt, without the end of its turn.

        Thinking at the start of ``text`` is written with the model's own marks, which anywhere else are text. Where the
        template opened the thinking it is not opened again, and an answer without any ends it at once.
        """
        thought, answer = thought_and_answer(text)
        if thought is None:
            return (*self.no_thinking_ids, *self.text_ids(text))
        begin = () if self.opens_thinking else self._marked(f"{THINK}\n")
        if never_answers(text):
            return (*begin, *self.text_ids(thought))
        return (*begin, *self.text_ids(thought), *self._marked(f"\n{END_OF_THINKING}\n\n"), *self.text_ids(answer))

    def answer_text(self, token_ids: Sequence[int]) -> str:
        """Text of a generated answer without control tokens; thinking that the template opened gets its mark back."""
        return self.with_opening(self.decode(token_ids))

    def with_opening(self, text: str) -> str:
        """A generated text with the mark that the template wrote in front of it, if its thinking was opened there."""
        return f"{THINK}\n{text}" if self.opens_thinking and not text.lstrip().startswith(THINK) else text

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of generated tokens, without control tokens."""
        if self._marks_are_special:
            token_ids = [index for index in token_ids if index not in self.special_token_ids]
        return self.tokenizer.decode(
            list(token_ids), skip_special_tokens=not self._marks_are_special, clean_up_tokenization_spaces=False
        )

    def _marked(self, text: str) -> tuple[int, ...]:
        """Tokens of a text of ours, marks as the model's own tokens."""
        return tuple(self._encode(text))

    def unknown_in(self, token_ids: Sequence[int]) -> bool:
        """Whether the tokenizer had no token for some character (byte-level tokenizers always have)."""
        return self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in token_ids

    def _encode(self, text: str, **how: bool) -> list[int]:
        with _ENCODING:
            return self.tokenizer(text, add_special_tokens=False, **how)["input_ids"]

    def _plain(self, text: str) -> list[int]:
        ids = self._encode(text, split_special_tokens=True, verbose=False)
        if self._armed_unknown is None or self._armed_unknown not in ids:
            return ids
        return [part for index in ids for part in (self._replacement if index == self._armed_unknown else (index,))]

    @cached_property
    def _armed_unknown(self) -> int | None:
        """The unknown token, where it is a control token in disguise.

        SmolLM2's vocabulary lacks some control characters, and its unknown token is its end of text: an answer with
        such a character would end the judge's text.
        """
        unknown, names = self.tokenizer.unk_token_id, ("bos_token_id", "eos_token_id", "pad_token_id")
        dedicated = unknown is None or (self.tokenizer.unk_token or "").strip("<>[]|").lower() in ("unk", "unknown")
        shared = unknown is not None and unknown in [getattr(self.tokenizer, name) for name in names]
        return unknown if shared or not dedicated else None

    @cached_property
    def _replacement(self) -> tuple[int, ...]:
        """What an unknown character becomes instead: U+FFFD, or a question mark."""
        for text in ("\ufffd", "?"):
            ids = self._encode(text)
            if self._armed_unknown not in ids:
                return tuple(ids)
        return ()

    def _has_added(self, ids: Sequence[int]) -> bool:
        unknown = self.tokenizer.unk_token_id  # a token for unknown characters only is no control token
        return any(index in self._added and index != unknown for index in ids)

    def _break_up(self, text: str) -> list[str]:
        """Cut ``text`` inside every spelled-out control token, so that no part contains a whole one."""
        parts = [text]
        for spelled in self._added.values():
            pieces = [part.split(spelled) for part in parts]
            half = max(1, len(spelled) // 2)
            parts = []
            for split in pieces:
                for index, piece in enumerate(split):
                    before = spelled[half:] if index else ""
                    after = spelled[:half] if index < len(split) - 1 else ""
                    parts.append(before + piece + after)
        return parts

    def _template_ids(self, roles: tuple[str, ...], generation: bool) -> list[list[int]]:
        key = (roles, generation)
        if key not in self._pieces:
            try:
                texts = self._template.pieces(roles, generation)
                self._pieces[key] = [self._encode(text) if text else [] for text in texts]
            except ModelError as error:
                self._pieces[key] = error
        found = self._pieces[key]
        if isinstance(found, ModelError):
            raise found
        return found
