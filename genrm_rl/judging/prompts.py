"""From an unlabelled comparison to the messages that a judge is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genrm_rl.errors import DataError
from genrm_rl.judging.guidance import guided, reasoned
from genrm_rl.judging.templates import FORMS, GRAMMARS, TEMPLATES, Family, Template, with_ties
from genrm_rl.judging.types import Form
from genrm_rl.judging.verdicts import VerdictGrammar
from genrm_rl.preferences.types import Comparison, Message, Slot

ChatMessage = dict[str, str]
SHOWN_ROLES = 8  # of a long conversation, in an error

# An answer must not be able to close its own block: its copies of our delimiters lose their opening bracket.
_DELIMITER = re.compile(r"\[(?=The (?:Start|End) of )", re.IGNORECASE)
_LINE_BREAKS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_LINE_BREAK = re.compile(r"\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """One form of one template family. ``ties``: a judge that writes may say that neither answer is better."""

    family: Family
    form: Form
    ties: bool = False

    @property
    def template(self) -> Template:
        """Texts and version."""
        template = TEMPLATES[self.family, self.form]
        return with_ties(template) if self.ties and self.form == "cot" else template

    @property
    def grammar(self) -> VerdictGrammar:
        """How this family writes a verdict."""
        return GRAMMARS[self.family]

    @property
    def hash(self) -> str:
        """Hash of texts, version and verdict grammar; recorded with everything that the prompt produced."""
        return self.template.hash

    def render(
        self, comparison: Comparison, hint: Slot | None = None, reasons: Sequence[str] = ()
    ) -> list[ChatMessage]:
        """Messages (``role``, ``content``) ending in a user turn; the comparison's guide is shown as it is.

        ``hint`` names the better slot and belongs to the ``rationalize`` form alone (ValueError otherwise), and so do
        ``reasons``, in which people say why it is better. Raises
        DataError when the compact family is given anything but a single user turn.
        """
        if (hint is not None) != (self.form == "rationalize") or (reasons and hint is None):
            raise ValueError(
                f"The form `{self.form}` {'needs' if hint is None else 'takes no'} hint about the better answer."
            )
        fields = self._fields(comparison, reasons) | ({} if hint is None else {"hint": hint})
        user = {"role": "user", "content": self.template.user.format(**fields)}
        return [{"role": "system", "content": self.template.system}, user] if self.template.system else [user]

    def _fields(self, comparison: Comparison, reasons: Sequence[str]) -> dict[str, str]:
        harmless, inline = HARMLESS[self.family], self.family != "mt_bench"
        question = guided(self.question(comparison), comparison.guide, harmless, inline=inline)
        return {
            "question": reasoned(question, reasons, harmless, inline=inline),
            "a": harmless(comparison.response_a),
            "b": harmless(comparison.response_b),
        }

    def question(self, comparison: Comparison) -> str:
        """The question alone, or the conversation up to the answer. Raises DataError as :meth:`render` does."""
        if self.family == "mt_bench":
            return conversation_block(comparison.prompt)
        if self.family == "plain" and len(comparison.prompt) == 1:
            return indent(comparison.prompt[0].content)
        if self.family in ("chat_compact", "plain"):
            return "\n".join(f"{turn.role.capitalize()}: {indent(turn.content)}" for turn in comparison.prompt)
        if len(comparison.prompt) != 1 or comparison.prompt[0].role != "user":
            roles = [turn.role for turn in comparison.prompt]
            shown = ", ".join(roles[:SHOWN_ROLES] + ["..."] * (len(roles) > SHOWN_ROLES))
            raise DataError(
                f"The compact judge template takes a single user turn, but the prompt of pair "
                f"{comparison.pair_id} has {len(roles)} turns ({shown}); "
                "use --judge.template mt_bench."
            )
        return one_line(comparison.prompt[0].content)


def prompt_hashes(family: Family) -> dict[Form, str]:
    """Hash of each form of a family, for manifests and reports."""
    return {form: JudgePrompt(family, form).hash for form in FORMS}


def training_form(form: Form) -> Form:
    """The form whose prompt a trace of ``form`` is trained under: a rationalised trace is learnt without its hint."""
    return "cot" if form == "rationalize" else form


def conversation_block(turns: Sequence[Message]) -> str:
    """The user's question, or (several turns) the conversation so far, between delimiters as in MT-Bench."""
    if len(turns) == 1:
        return f"[User Question]\n{defuse(turns[0].content)}"
    shown = "\n\n".join(f"### {turn.role.capitalize()}:\n{defuse(turn.content)}" for turn in turns)
    return f"[The Start of the Conversation]\n{shown}\n[The End of the Conversation]"


def defuse(text: str) -> str:
    """``text`` with copies of the prompt's own delimiters made harmless (``[The End of`` becomes ``(The End of``)."""
    return _DELIMITER.sub("(", text)


def one_line(text: str) -> str:
    """``text`` without line breaks: the compact format is one field a line, so a break could fake the next field."""
    return _LINE_BREAKS.sub(" ", text)


def indent(text: str) -> str:
    """``text`` with a blank after every line break: what begins a line without one is a field of the short format, so
    no text can begin the next field. In byte-level vocabularies the blank joins the next word and costs no token."""
    return _LINE_BREAK.sub("\n ", text)


# How a text of each family is kept from forging its structure.
HARMLESS: dict[Family, Callable[[str], str]] = {
    "compact": one_line,
    "chat_compact": indent,
    "plain": indent,
    "mt_bench": defuse,
}
