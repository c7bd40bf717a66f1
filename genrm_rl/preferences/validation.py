"""One row of preference data to one pair, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from genrm_rl.config.data import SourceConfig
from genrm_rl.preferences.turns import (
    BadRow,
    Notes,
    blank,
    check_encodable,
    check_prompt,
    kind_of,
    read_answer,
    read_conversation,
    read_prompt,
)
from genrm_rl.preferences.types import LabelSource, Message, PreferencePair

_LABEL_SOURCES: tuple[str, ...] = get_args(LabelSource)
_TIE_WORDS = frozenset({"tie", "tied", "draw", "equal", "both"})
BENCHMARK_FIELDS = ("item", "subset", "candidate", "chosen_style", "rejected_style", "correct", "incorrect")


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


def pair_from_row(row: RawRow, source: SourceConfig, notes: Notes | None = None) -> PreferencePair:
    """Build the pair that a row describes; ``notes`` counts what was read in another form. Raises BadRow."""
    notes = Notes() if notes is None else notes
    if row.problem:
        raise BadRow("unreadable", row.problem)
    if not isinstance(row.fields, Mapping):
        raise BadRow("wrong_type", f"a row must be an object with named fields, not {kind_of(row.fields)}")
    fields, columns = row.fields, source.columns
    _refuse_tie(fields, source)
    if source.layout == "shared_prefix":
        prompt, chosen, rejected = _shared_prefix(fields, columns.chosen, columns.rejected, notes)
        check_prompt(prompt)
    else:
        if columns.prompt is None:
            raise BadRow(
                "missing_field", "no prompt column is set; name one in `columns.prompt`, or use `layout: shared_prefix`"
            )
        prompt = read_prompt(_field(fields, columns.prompt), columns.prompt, notes)
        chosen = read_answer(_field(fields, columns.chosen), columns.chosen, notes)
        rejected = read_answer(_field(fields, columns.rejected), columns.rejected, notes)
    for name, answer in ((columns.chosen, chosen), (columns.rejected, rejected)):
        if blank(answer):
            raise BadRow("empty", f"`{name}` is an empty answer")
    if chosen.lstrip("\r\n").rstrip() == rejected.lstrip("\r\n").rstrip():
        raise BadRow("equal_answers", f"`{columns.chosen}` and `{columns.rejected}` are the same answer")
    check_encodable(chosen, rejected)
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


def _shared_prefix(
    fields: Mapping[str, Any], chosen: str, rejected: str, notes: Notes
) -> tuple[tuple[Message, ...], str, str]:
    """Two conversations that differ in their last turn only (hh-rlhf text, UltraFeedback-binarized messages)."""
    first, second = (read_conversation(_field(fields, name), name, notes) for name in (chosen, rejected))
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
    better, worse = (
        _number(score, name) for score, name in zip(scores, (columns.chosen_score, columns.rejected_score), strict=True)
    )
    if better == worse:
        raise BadRow("tie", f"`{columns.chosen_score}` and `{columns.rejected_score}` are both {scores[0]}: a tie")
    if better < worse:
        raise BadRow(
            "wrong_order", f"`{columns.chosen_score}` {scores[0]} is below `{columns.rejected_score}` {scores[1]}"
        )


def _number(value: Any, name: str) -> Decimal:
    """A finite number, also as decimal or text. Raises BadRow."""
    try:
        number = Decimal("nan") if isinstance(value, bool) else Decimal(str(value).strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise BadRow("wrong_type", f"`{name}` is {value!r:.40}, not a finite number")
    return number


def _label_source(fields: Mapping[str, Any], source: SourceConfig) -> LabelSource:
    name = source.columns.label_source
    value = fields.get(name) if name else None
    if value is None:
        return source.label_source
    if value not in _LABEL_SOURCES:
        raise BadRow("wrong_type", f"`{name}` is {value!r}; use {', '.join(_LABEL_SOURCES)}")
    return value
