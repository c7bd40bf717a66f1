"""One row of preference data to one pair, or the reason why not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from genrm_rl.config.data import SourceConfig
from genrm_rl.preferences.types import LabelSource, Message, PreferencePair, Role

_ROLES: tuple[str, ...] = get_args(Role)
_LABEL_SOURCES: tuple[str, ...] = get_args(LabelSource)
_TIE_WORDS = frozenset({"tie", "tied", "draw", "equal", "both"})
BENCHMARK_FIELDS = ("item", "subset", "candidate", "chosen_style", "rejected_style", "correct", "incorrect")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_HH_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}


class BadRow(Exception):
    """Why one row can't be used. The loader adds file and line; ``kind`` groups reasons for counting."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it was found: its content, or why it can't be read. ``line`` counts from 1 (rows for Parquet)."""

    file: str
    line: int
    fields: Any = None
    problem: str = ""
    text: str = ""

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


def pair_from_row(row: RawRow, source: SourceConfig) -> PreferencePair:
    """Build the pair that a row describes. Raises BadRow with the reason."""
    if row.problem:
        raise BadRow("unreadable", row.problem)
    if not isinstance(row.fields, Mapping):
        raise BadRow("wrong_type", f"a row must be an object with named fields, not {_kind(row.fields)}")
    fields, columns = row.fields, source.columns
    _refuse_tie(fields, source)
    if source.layout == "shared_prefix":
        prompt, chosen, rejected = _shared_prefix(fields, columns.chosen, columns.rejected)
    else:
        if columns.prompt is None:
            raise BadRow(
                "missing_field", "no prompt column is set; name one in `columns.prompt`, or use `layout: shared_prefix`"
            )
        prompt = _prompt(_field(fields, columns.prompt), columns.prompt)
        chosen = _answer(_field(fields, columns.chosen), columns.chosen)
        rejected = _answer(_field(fields, columns.rejected), columns.rejected)
    _check_turns(prompt)
    for name, answer in ((columns.chosen, chosen), (columns.rejected, rejected)):
        if not answer.strip():
            raise BadRow("empty", f"`{name}` is an empty answer")
    if chosen.strip() == rejected.strip():
        raise BadRow("equal_answers", f"`{columns.chosen}` and `{columns.rejected}` are the same answer")
    _refuse_surrogates(prompt, chosen, rejected)
    category = fields.get(columns.category) if columns.category else None
    meta = {"file": row.file, "line": row.line} | _benchmark_fields(fields)
    if isinstance(fields.get("id"), str | int):
        meta["row_id"] = str(fields["id"])
    return PreferencePair.create(
        prompt,
        chosen,
        rejected,
        source=source.label,
        category="" if category is None else str(category),
        label_source=_label_source(fields, source),
        meta=meta,
    )


def _benchmark_fields(fields: Mapping[str, Any]) -> dict[str, str | int]:
    """What the scoring rules of benchmarks ask about a pair: columns of the row, or entries of its `meta` object."""
    inner = fields.get("meta")
    known = {**(inner if isinstance(inner, Mapping) else {}), **fields}
    return {name: known[name] for name in BENCHMARK_FIELDS if isinstance(known.get(name), str | int)}


def _field(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        found = ", ".join(f"`{key}`" for key in list(fields)[:8]) or "nothing"
        raise BadRow("missing_field", f"the field `{name}` is missing (found {found})")
    return fields[name]


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _messages(value: list[Any], name: str) -> tuple[Message, ...]:
    turns = []
    for index, turn in enumerate(value, start=1):
        if not isinstance(turn, Mapping) or "role" not in turn or "content" not in turn:
            raise BadRow("bad_turns", f"turn {index} of `{name}` is not an object with `role` and `content`")
        role, content = turn["role"], turn["content"]
        if role not in _ROLES:
            raise BadRow("bad_turns", f"turn {index} of `{name}` has the role {role!r}; use {', '.join(_ROLES)}")
        if not isinstance(content, str):
            raise BadRow("wrong_type", f"the content of turn {index} of `{name}` is {_kind(content)}, not a string")
        turns.append(Message(role, content))
    return tuple(turns)


def _prompt(value: Any, name: str) -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message("user", value),)
    if isinstance(value, list):
        return _messages(value, name)
    raise BadRow("wrong_type", f"`{name}` is {_kind(value)}; it must be a string or a list of messages")


def _answer(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        turns = _messages(value, name)
        if len(turns) == 1 and turns[0].role == "assistant":
            return turns[0].content
        raise BadRow(
            "wrong_type",
            f"`{name}` is a conversation of {len(turns)} turns, not one answer; use `layout: shared_prefix`",
        )
    raise BadRow("wrong_type", f"`{name}` is {_kind(value)}; it must be a string")


def _shared_prefix(fields: Mapping[str, Any], chosen: str, rejected: str) -> tuple[tuple[Message, ...], str, str]:
    """Two conversations that differ in their last turn only (hh-rlhf text, UltraFeedback-binarized messages)."""
    first, second = (_conversation(_field(fields, name), name) for name in (chosen, rejected))
    for name, turns in ((chosen, first), (rejected, second)):
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise BadRow("bad_turns", f"`{name}` does not end in an assistant turn after a prompt")
    if first[:-1] != second[:-1]:
        differing = next(
            (i for i, (x, y) in enumerate(zip(first[:-1], second[:-1], strict=False), start=1) if x != y),
            min(len(first), len(second)),
        )
        raise BadRow(
            "no_shared_prefix",
            f"`{chosen}` and `{rejected}` do not share a prefix: they differ from turn {differing} on",
        )
    return first[:-1], first[-1].content, second[-1].content


def _conversation(value: Any, name: str) -> tuple[Message, ...]:
    if isinstance(value, list):
        return _messages(value, name)
    if not isinstance(value, str):
        raise BadRow(
            "wrong_type",
            f"`{name}` is {_kind(value)}; it must be a conversation (messages, or text with Human: and Assistant:)",
        )
    marks = list(_HH_TURN.finditer(value))
    if not marks or value[: marks[0].start()].strip():
        raise BadRow(
            "wrong_type",
            f"`{name}` is text that does not start with `Human:`, so it is not a conversation in the hh-rlhf form",
        )
    ends = [mark.start() for mark in marks[1:]] + [len(value)]
    return tuple(
        Message(_HH_ROLES[mark.group(1)], value[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    )


def _check_turns(prompt: tuple[Message, ...]) -> None:
    if not prompt:
        raise BadRow("empty", "the prompt has no turns")
    if prompt[-1].role != "user":
        raise BadRow("bad_turns", f"the prompt must end with a user turn, not with one of {prompt[-1].role}")
    if not prompt[-1].content.strip():
        raise BadRow("empty", "the prompt is empty")
    if any(turn.role == "system" for turn in prompt[1:]):
        raise BadRow("bad_turns", "a system turn may only come first")


def _refuse_tie(fields: Mapping[str, Any], source: SourceConfig) -> None:
    columns = source.columns
    flag = fields.get(columns.tie) if columns.tie else None
    if flag is True or (isinstance(flag, str) and flag.strip().lower() in _TIE_WORDS | {"true", "yes"}):
        raise BadRow("tie", f"`{columns.tie}` says that this is a tie")
    word = fields.get(columns.label) if columns.label else None
    if isinstance(word, str) and word.strip().lower() in _TIE_WORDS:
        raise BadRow("tie", f"`{columns.label}` is {word!r}: a tie prefers neither answer")
    if columns.chosen_score is None or columns.rejected_score is None:
        return
    scores = [fields.get(name) for name in (columns.chosen_score, columns.rejected_score)]
    if any(score is None for score in scores):
        return
    for name, score in zip((columns.chosen_score, columns.rejected_score), scores, strict=True):
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise BadRow("wrong_type", f"`{name}` is {score!r}, not a finite number")
    if scores[0] == scores[1]:
        raise BadRow("tie", f"`{columns.chosen_score}` and `{columns.rejected_score}` are both {scores[0]}: a tie")
    if scores[0] < scores[1]:
        raise BadRow(
            "wrong_order", f"`{columns.chosen_score}` {scores[0]} is below `{columns.rejected_score}` {scores[1]}"
        )


def _label_source(fields: Mapping[str, Any], source: SourceConfig) -> LabelSource:
    name = source.columns.label_source
    value = fields.get(name) if name else None
    if value is None:
        return source.label_source
    if value not in _LABEL_SOURCES:
        raise BadRow("wrong_type", f"`{name}` is {value!r}; use {', '.join(_LABEL_SOURCES)}")
    return value


def _refuse_surrogates(prompt: tuple[Message, ...], *answers: str) -> None:
    for text in (*(turn.content for turn in prompt), *answers):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadRow(
                "unreadable", f"it has half a surrogate pair ({text[error.start]!r}), which is not valid text"
            ) from error
