"""How people arrange preference data: which layout a row has, and the comparisons that it describes.

A layout knows the columns that show it and how to read a row. Layouts of published sets are in
:mod:`genrm_rl.preferences.published`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrm_rl.config.data import SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.labels import Outcome, is_tie, read_label, read_number
from genrm_rl.preferences.turns import (
    BadRow,
    Notes,
    check_prompt,
    is_conversation,
    read_answer,
    read_conversation,
    read_prompt,
)
from genrm_rl.preferences.types import Message

PROMPTS = ("prompt", "question", "instruction", "query", "context", "conversation", "history")
ANSWERS = (
    ("response_a", "response_b"), ("response_A", "response_B"), ("response_0", "response_1"),
    ("response_1", "response_2"), ("response1", "response2"), ("answer_a", "answer_b"), ("answer_1", "answer_2"),
    ("output_1", "output_2"), ("completion_a", "completion_b"), ("conversation_a", "conversation_b"),
)  # fmt: skip
LABELS = ("label", "winner", "preference", "preferred", "better", "better_response_id", "choice")


@dataclass(frozen=True, slots=True)
class Row:
    """One row, the settings of its source, and where what was read in another form is counted."""

    fields: Mapping[str, Any]
    source: SourceConfig
    notes: Notes
    place: str
    keep_ties: bool = False

    def has(self, *names: str | None) -> bool:
        """Whether the row has all these columns."""
        return all(name is not None and name in self.fields for name in names)

    def get(self, name: str) -> Any:
        """A column that must be there."""
        if name not in self.fields:
            found = ", ".join(f"`{key}`" for key in list(self.fields)[:8]) or "nothing"
            raise BadRow("missing_field", f"the field `{name}` is missing (found {found})")
        return self.fields[name]

    def one_of(self, names: Sequence[str], setting: str) -> str | None:
        """The only one of these columns that the row has, None if it has none; DataError if it has several."""
        found = [name for name in names if name in self.fields]
        if len(found) > 1:
            listed = " and ".join(f"`{name}`" for name in found)
            raise DataError(f"{self.place}: both {listed} may be meant; name one in the source's `{setting}`")
        return found[0] if found else None

    def prompt_column(self) -> str | None:
        """The column of the prompt: the one that is set, else the one that has a usual name."""
        name = self.source.columns.prompt
        return name if name is None or name in self.fields else self.one_of(PROMPTS, "columns.prompt")

    def prompt(self, name: str = "") -> tuple[Message, ...]:
        """The conversation up to the answer; ``input`` (Alpaca) and a ``system`` column belong to it."""
        name = name or self.prompt_column() or self.source.columns.prompt or "prompt"
        turns = read_prompt(self.get(name), name, self.notes)
        extra, system = self.fields.get("input"), self.fields.get("system")
        if name == "instruction" and isinstance(extra, str) and extra.strip():
            self.notes["`instruction` and `input` put together"] += 1
            turns = (*turns[:-1], Message("user", f"{turns[-1].content}\n\n{extra}"))
        if isinstance(system, str) and system.strip() and turns[0].role != "system":
            self.notes["`system` columns read as system turns"] += 1
            turns = (Message("system", system), *turns)
        check_prompt(turns)
        return turns

    def answer(self, name: str) -> str:
        """A column that is one answer."""
        return read_answer(self.get(name), name, self.notes)


@dataclass(frozen=True, slots=True)
class Found:
    """One comparison that a row describes. ``names`` say where its two answers were, for messages."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    names: tuple[str, str] = ("chosen", "rejected")
    category: str = ""
    strength: float | None = None
    rationales: tuple[str, ...] = ()
    meta: Mapping[str, str | int] = field(default_factory=dict)
    tie: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """``fits`` says whether a row shows this layout, ``read`` what it describes (raises BadRow)."""

    fits: Callable[[Row], bool]
    read: Callable[[Row], list[Found]]


def texts(value: Any) -> bool:
    """Whether a column holds several answers."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def chosen_kind(row: Row) -> str:
    """``answer``, ``conversation`` or ``texts``: what the two columns hold; empty if they are not there."""
    columns = row.source.columns
    if not row.has(columns.chosen, columns.rejected):
        return ""
    values = [row.fields[columns.chosen], row.fields[columns.rejected]]
    if all(texts(value) for value in values):
        return "texts"
    asked = columns.prompt is not None and any(name in row.fields for name in (columns.prompt, *PROMPTS))
    if all(is_conversation(value) and not (isinstance(value, str) and asked) for value in values):
        return "conversation"
    return "answer"


def ordered(
    row: Row, outcome: Outcome, name: str, prompt: tuple[Message, ...], *sides: str, **more: Any
) -> list[Found]:
    """First and second answer, with the winner's first. ``sides``: two texts and their two names."""
    if outcome == "tie" and not row.keep_ties:
        raise BadRow("tie", f"`{name}` is {row.fields.get(name)!r:.40}: a tie prefers neither answer")
    first, second, first_name, second_name = sides
    meta = {"first": "rejected" if outcome == "second" else "chosen", **more.pop("meta", {})}
    if outcome != "second":
        return [Found(prompt, first, second, (first_name, second_name), meta=meta, tie=outcome == "tie", **more)]
    return [Found(prompt, second, first, (second_name, first_name), meta=meta, **more)]


def _read_pair(row: Row) -> list[Found]:
    columns = row.source.columns
    tie = _is_tie(row)
    if columns.prompt is None:
        raise BadRow(
            "missing_field", "no prompt column is set; name one in `columns.prompt`, or use `layout: shared_prefix`"
        )
    for name in (columns.chosen, columns.rejected):
        if texts(row.fields.get(name)):
            raise BadRow(
                "wrong_type",
                f"`{name}` is a list of texts, not one answer; use `layout: best_of` or `layout: rm_bench`",
            )
    names = (columns.chosen, columns.rejected)
    return [Found(row.prompt(), row.answer(columns.chosen), row.answer(columns.rejected), names, tie=tie)]


def _read_shared_prefix(row: Row) -> list[Found]:
    """Two conversations that differ in their last turn only (hh-rlhf text, UltraFeedback-binarized messages)."""
    tie = _is_tie(row)
    names = (row.source.columns.chosen, row.source.columns.rejected)
    prompt, chosen, rejected = _share_prefix(row, *names)
    return [Found(prompt, chosen, rejected, names, tie=tie)]


def _share_prefix(row: Row, one: str, other: str) -> tuple[tuple[Message, ...], str, str]:
    first, second = (read_conversation(row.get(name), name, row.notes) for name in (one, other))
    for name, turns in ((one, first), (other, second)):
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise BadRow("bad_turns", f"`{name}` does not end in an assistant turn after a prompt")
    if first[:-1] != second[:-1]:
        differing = next(
            (i for i, (x, y) in enumerate(zip(first[:-1], second[:-1], strict=False), start=1) if x != y),
            min(len(first), len(second)),
        )
        raise BadRow(
            "no_shared_prefix", f"`{one}` and `{other}` do not share a prefix: they differ from turn {differing} on"
        )
    check_prompt(first[:-1])
    return first[:-1], first[-1].content, second[-1].content


def answer_columns(row: Row) -> tuple[str, str] | None:
    """The columns of the first and the second answer, as set or by a usual pair of names."""
    columns = row.source.columns
    if columns.response_a or columns.response_b:
        return str(columns.response_a), str(columns.response_b)
    found = [names for names in ANSWERS if row.has(*names)]
    if len(found) > 1 and found[0] == ("response_0", "response_1"):
        found = found[:1]  # of three answers or more, which this layout is not for
    return found[0] if found else None


def label_column(row: Row) -> str | None:
    """The column that says which answer won."""
    name = row.source.columns.label
    return name if name is None or name in row.fields else row.one_of(LABELS, "columns.label")


def _fits_labelled(row: Row) -> bool:
    names = answer_columns(row)
    return names is not None and row.has(*names) and label_column(row) is not None


def _read_labelled(row: Row) -> list[Found]:
    """Two answers and a label."""
    first, second = answer_columns(row) or ("response_a", "response_b")
    name = label_column(row) or row.source.columns.label or "label"
    by_name = 0 if (first, second) == ("response_0", "response_1") else None
    first_is = by_name if row.source.first_is is None else row.source.first_is
    outcome = read_label(row.get(name), name, first_is, row.place)
    if is_conversation(row.get(first)) and is_conversation(row.get(second)):
        prompt, *answers = _share_prefix(row, first, second)
    else:
        prompt, *answers = row.prompt(), row.answer(first), row.answer(second)
    return ordered(row, outcome, name, prompt, *answers, first, second)


def _is_tie(row: Row) -> bool:
    """Whether a column says that neither answer won. Raises BadRow for a tie where ties are left out, and for scores in
    the wrong order."""
    reason = _tie_reason(row)
    if reason and not row.keep_ties:
        raise BadRow("tie", reason)
    return bool(reason)


def _tie_reason(row: Row) -> str:
    columns, fields = row.source.columns, row.fields
    flag = fields.get(columns.tie) if columns.tie else None
    if flag is True or is_tie(flag) or (isinstance(flag, str) and flag.strip().lower() in ("true", "yes")):
        return f"`{columns.tie}` says that this is a tie"
    word = fields.get(columns.label) if columns.label else None
    if is_tie(word):
        return f"`{columns.label}` is {word!r}: a tie prefers neither answer"
    names = (columns.chosen_score, columns.rejected_score)
    scores = [fields.get(name) if name else None for name in names]
    if any(score is None for score in scores):
        return ""
    better, worse = (read_number(score, str(name)) for score, name in zip(scores, names, strict=True))
    if better < worse:
        raise BadRow("wrong_order", f"`{names[0]}` {scores[0]} is below `{names[1]}` {scores[1]}")
    return f"`{names[0]}` and `{names[1]}` are both {scores[0]}: a tie" if better == worse else ""


PAIR = Layout(lambda row: chosen_kind(row) == "answer" and not row.has("conversations"), _read_pair)
SHARED_PREFIX = Layout(lambda row: chosen_kind(row) == "conversation", _read_shared_prefix)
LABELLED = Layout(_fits_labelled, _read_labelled)
