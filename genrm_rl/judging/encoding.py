"""Comparisons, judgments and conversations as token ids: what engines are asked with and learners are trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from genrm_rl.config.model import JudgeConfig
from genrm_rl.config.rubric import Rubric
from genrm_rl.errors import DataError, ModelError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.guidance import WORDING
from genrm_rl.judging.prompts import ChatMessage, JudgePrompt, prompt_hashes, training_form
from genrm_rl.judging.scale import PointTokens, Scale
from genrm_rl.judging.templates import GRAMMARS, Family
from genrm_rl.judging.thoughts import thought_and_answer, without_thoughts
from genrm_rl.judging.types import Form, Trace
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.types import Comparison, Message, PreferencePair, Slot, content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_COUNT_SLACK = 32  # tokens by which the two orders of one comparison may differ where contents meet the template


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """A prompt and the completion to learn. Loss falls on the completion only."""

    prompt_token_ids: tuple[int, ...]
    completion_token_ids: tuple[int, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Prompt and completion, length T."""
        return self.prompt_token_ids + self.completion_token_ids

    @property
    def loss_mask(self) -> tuple[int, ...]:
        """1 where the token is to be predicted, 0 in the prompt; length T."""
        return (0,) * len(self.prompt_token_ids) + (1,) * len(self.completion_token_ids)


class JudgeEncoder:
    """Everything that depends on tokenizer and template family at once.

    Raises ModelError if the tokenizer has no chat template, or does not write the two verdict letters as one token
    each.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        family: Family,
        *,
        max_context: int,
        max_rationale: int,
        force_verdict: bool = False,
        template_arguments: Mapping[str, Any] | None = None,
        answer_thoughts: Literal["hide", "show"] = "hide",
        rubric: Rubric = (),
        show_reference: bool = False,
        max_thinking: int = 0,
        scale: Scale | None = None,
        ties: bool = False,
    ) -> None:
        self.chat = ChatEncoder(tokenizer, template_arguments)
        self.chat.check_template()
        if family == "plain" and self.chat.opens_thinking:
            raise ModelError(
                f"The chat template of {tokenizer.name_or_path or 'the model'} begins every answer inside <think>: "
                "choose judge.template mt_bench or chat_compact."
            )
        self.family: Family = family
        self.grammar = replace(GRAMMARS[family], ties=ties)
        self.max_context = max_context
        self.max_rationale = max_rationale
        self.max_thinking = max_thinking
        self.force_verdict = force_verdict
        self.guide = Guide(rubric)
        self.show_reference = show_reference
        self.scale = scale or Scale.parse(JudgeConfig().scale)
        self._spoken = without_thoughts if answer_thoughts == "hide" else str
        self.marker_token_ids, self.verdict_token_ids = self._split_verdict_line("")
        self.marker_line_token_ids, after_break = self._split_verdict_line("\n")
        if after_break != self.verdict_token_ids:
            raise ModelError(
                f"The tokenizer writes the letters of {self.grammar.line('A')!r} differently after a line break."
            )

    @cached_property
    def letter_token_ids(self) -> tuple[tuple[int, int], ...]:
        """The tokens of (A, B) at which a verdict is read: those of the verdict line first, then the bare letters of
        other endings (``[[A]]``), where the tokenizer has one token for each."""
        bare = tuple(tuple(self.chat.text_ids(slot)) for slot in "AB")
        if not self.grammar.free or any(len(ids) != 1 for ids in bare):
            return (self.verdict_token_ids,)
        return tuple(dict.fromkeys((self.verdict_token_ids, (bare[0][0], bare[1][0]))))

    @property
    def logprob_token_ids(self) -> tuple[int, ...]:
        """What engines are asked for: ``letter_token_ids`` in one row."""
        return tuple(index for pair in self.letter_token_ids for index in pair)

    def closes(self, token_id: int) -> bool:
        """Whether a token may stand after the letter of a verdict."""
        return self.chat.closes(token_id) if self.grammar.free else self.chat.ignorable(token_id)

    @classmethod
    def from_config(cls, tokenizer: PreTrainedTokenizerBase, judge: JudgeConfig, max_context: int) -> JudgeEncoder:
        """The encoder for a judge section and the model's context length (tokens)."""
        return cls(
            tokenizer,
            judge.template,
            max_context=max_context,
            max_rationale=judge.max_rationale,
            force_verdict=judge.force_verdict,
            template_arguments=judge.chat_template_kwargs,
            answer_thoughts=judge.answer_thoughts,
            rubric=judge.rubric,
            show_reference=judge.show_reference,
            max_thinking=judge.max_thinking,
            scale=Scale.parse(judge.scale),
            ties=judge.ties,
        )

    @property
    def prompt_hashes(self) -> dict[Form, str]:
        """Hash of each prompt form in the model's chat template, and of what is shown in it, for manifests."""
        guide = (WORDING, self.guide.plain(), self.show_reference)
        around = (self.chat.identity, self._spoken.__name__, *guide, *["ties"] * self.grammar.ties)
        return {form: content_hash(words, *around) for form, words in prompt_hashes(self.family).items()}

    @property
    def stop_token_id(self) -> int:
        """The token that ends the judge's turn."""
        return self.chat.stop_token_id

    @property
    def verdict_room(self) -> int:
        """Tokens of a line break, the verdict line and the end of turn."""
        return len(self.marker_line_token_ids) + 2

    def max_tokens(self, form: Form) -> int:
        """Generation limit: one token for the direct form, else thinking, rationale, verdict line and end of turn.

        Raises ModelError for a template that begins to think where no room for that was given.
        """
        if form == "direct":
            return 1
        if self.chat.opens_thinking and not self.max_thinking:
            raise ModelError(
                f"The chat template of {self.chat.tokenizer.name_or_path or 'the model'} begins every judgment inside "
                "<think>, and judge.max_thinking is 0; give it room to think, e.g. --judge.max-thinking 1024"
            )
        return self.max_thinking + self.max_rationale + self.verdict_room

    def prompt_ids(
        self, comparison: Comparison, form: Form, hint: Slot | None = None, reasons: Sequence[str] = ()
    ) -> tuple[int, ...]:
        """Prompt up to where the judge starts to write. For the direct form that is after the verdict marker, so that
        the next token is the verdict; thinking that the chat template opened is ended before it. Raises DataError or
        ModelError for turns that the templates do not take.
        """
        messages = JudgePrompt(self.family, form, self.grammar.ties).render(self._shown(comparison), hint, reasons)
        ids = self._asked(messages)
        return ids + self.chat.no_thinking_ids + self.marker_token_ids if form == "direct" else ids

    def _asked(self, messages: Sequence[ChatMessage]) -> tuple[int, ...]:
        if self.family == "plain":
            return self.chat.opening_ids + tuple(self.chat.text_ids(messages[-1]["content"]))
        return self.chat.conversation_ids(messages, generation=True)

    def completion_ids(self, rationale: str, slot: Slot) -> tuple[int, ...]:
        """A written judgment: rationale, verdict line, end of turn. ``<think>...</think>`` at the start of the
        rationale is thinking; without it, thinking that the chat template opened is ended first."""
        said = self.chat.answer_ids(rationale)
        marker = self.marker_line_token_ids if rationale else self.marker_token_ids
        return (*said, *marker, self.verdict_token_id(slot), self.stop_token_id)

    def verdict_token_id(self, slot: Slot) -> int:
        """The one token of the slot's letter."""
        return self.verdict_token_ids[0] if slot == "A" else self.verdict_token_ids[1]

    def trace_example(self, comparison: Comparison, trace: Trace) -> EncodedExample:
        """What a judge learns from a trace: the very tokens that were sampled, under the form's training prompt.

        A rationalised trace is put under the chain-of-thought prompt, which does not know the label. A completion that
        was cut off gets no end of turn. Raises ValueError when the trace belongs to another comparison or order.
        """
        if trace.pair_id != comparison.pair_id or trace.swapped != comparison.swapped:
            raise ValueError(
                f"trace {trace.trace_id} does not belong to pair {comparison.pair_id} in order {comparison.order}"
            )
        prompt = self.prompt_ids(comparison, training_form(trace.form))
        if trace.form == "direct" or trace.finish_reason not in ("stop", "forced"):
            return EncodedExample(prompt, trace.completion_token_ids)
        return EncodedExample(prompt, self.chat.ends_turn(trace.completion_token_ids))

    def written_example(self, comparison: Comparison, rationale: str, slot: Slot) -> EncodedExample:
        """A rationale that somebody else wrote (a person, a stronger judge) as a chain-of-thought example."""
        return EncodedExample(self.prompt_ids(comparison, "cot"), self.completion_ids(rationale, slot))

    def conversation_ids(self, prompt: Sequence[Message], response: str) -> tuple[int, ...]:
        """Prompt and response for a scalar reward model; the last token, whose state is scored, is the end of turn.

        Thinking that is shown stands as it was generated: templates drop it, or put an empty one in front of it.
        """
        messages = [{"role": turn.role, "content": turn.content} for turn in prompt]
        shown = self._spoken(response)
        if thought_and_answer(shown)[0] is not None:
            asked = self.chat.conversation_ids(messages, generation=True)
            return self.chat.ends_turn((*asked, *self.chat.answer_ids(shown)))
        messages.append({"role": "assistant", "content": shown})
        return self.chat.ends_turn(self.chat.conversation_ids(messages, generation=False))

    @cached_property
    def points(self) -> PointTokens:
        """The numbers of the scale. Raises ModelError if the tokenizer can't write them as one token each."""
        return self.scale.tokens(self.chat, self.family)

    def point_ids(self, comparison: Comparison) -> tuple[int, ...]:
        """The comparison's first answer alone, to be rated: the next token is a number of the scale."""
        messages = self.scale.messages(self.family, self._shown(comparison))
        return self._asked(messages) + self.chat.no_thinking_ids + self.points.before

    def pair_ids(self, comparison: Comparison) -> tuple[int, ...]:
        """Both answers for a PairRM-style classifier: the direct prompt, whose last token's state is scored."""
        return self.prompt_ids(comparison, "direct")

    def misfit(self, pair: PreferencePair, forms: Sequence[Form] = ("cot",)) -> str | None:
        """Why this pair can't be judged in full (either order, any of ``forms``), or None if it can.

        Nothing is ever truncated to fit: a pair that does not is a bad row.
        """
        room = self.max_context
        for form in forms:
            for swapped in (False, True):
                comparison = pair.comparison(swapped=swapped)
                try:
                    prompt = self.prompt_ids(comparison, form, "A" if form == "rationalize" else None)
                except (DataError, ModelError) as error:
                    return str(error)
                if self.chat.unknown_in(prompt):
                    return "it has characters that the model's tokenizer does not know"
                needed = len(prompt) + self.tokens_after(form)
                if needed > room:
                    return (
                        f"it needs {needed} tokens ({len(prompt)} of the {form} prompt, {self.tokens_after(form)} "
                        "for the "
                        f"judgment) and the context has {room}"
                    )
                if needed + _COUNT_SLACK <= room:
                    break  # the other order can't be that much longer
        return None

    def response_misfit(self, comparison: Comparison, form: Form) -> str | None:
        """As :meth:`misfit`, for one comparison in the given order only (answers of a policy)."""
        prompt = self.prompt_ids(comparison, form, "A" if form == "rationalize" else None)
        needed = len(prompt) + self.tokens_after(form)
        return (
            None if needed <= self.max_context else f"it needs {needed} tokens and the context has {self.max_context}"
        )

    def indistinct(self, comparison: Comparison, form: Form) -> bool:
        """Whether a judge of this form sees the same in both orders: equal answers, and those that the template makes
        equal."""
        comparison = self._shown(comparison)
        if comparison.response_a == comparison.response_b:
            return True
        prompt = JudgePrompt(self.family, training_form(form))
        return prompt.render(comparison) == prompt.render(comparison.swap())

    def _shown(self, comparison: Comparison) -> Comparison:
        """The comparison as the judge is shown it."""
        a, b = self._spoken(comparison.response_a), self._spoken(comparison.response_b)
        known = comparison.guide.known_answer if self.show_reference else None
        guide = Guide(comparison.guide.rubric or self.guide.rubric, known)
        return replace(comparison, response_a=a, response_b=b, guide=guide)

    def tokens_after(self, form: Form) -> int:
        """Tokens that may follow the prompt, a forced verdict line included."""
        if not self.force_verdict or form == "direct":
            return self.max_tokens(form)
        return self.max_tokens(form) + self.verdict_room + len(self.chat.end_of_thinking_ids)

    def _split_verdict_line(self, before: str) -> tuple[tuple[int, ...], tuple[int, int]]:
        """Tokens of ``before`` + marker, and the two letter tokens that follow it."""
        a, b = (self.chat.text_ids(before + self.grammar.line(slot)) for slot in ("A", "B"))
        if a[:-1] != b[:-1] or a[-1:] == b[-1:] or self.chat.unknown_in(a + b):
            raise ModelError(
                f"The tokenizer of {self.chat.tokenizer.name_or_path or 'the model'} does not write the letters of "
                f"{self.grammar.line('A')!r} and {self.grammar.line('B')!r} as one token each; choose the other "
                "judge.template, or another model."
            )
        return tuple(a[:-1]), (a[-1], b[-1])
