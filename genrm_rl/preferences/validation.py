"""One row of preference data to the pairs that it describes, or the reason why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from genrm_rl.config.data import SourceConfig
from genrm_rl.config.rubric import read_rubric
from genrm_rl.errors import DataError
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.layouts import Found, Row
from genrm_rl.preferences.published import LAYOUTS
from genrm_rl.preferences.turns import BadRow, Notes, blank, check_encodable, kind_of
from genrm_rl.preferences.types import LabelSource, PreferencePair

_LABEL_SOURCES: tuple[str, ...] = get_args(LabelSource)
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


class PairReader:
    """Rows of one source to pairs.

    The layout is the one that the source names, else the one that the columns of the first row that fits any show.
    ``notes`` counts what was read in another form than the pairs have. ``keep_ties``: ties are pairs too.
    """

    def __init__(self, source: SourceConfig, *, keep_ties: bool = False) -> None:
        self.source, self.notes, self.keep_ties = source, Notes(), keep_ties
        self.layout = "" if source.layout == "auto" else source.layout

    def pairs(self, row: RawRow) -> list[PreferencePair]:
        """The pairs that a row describes. Raises BadRow with the reason, DataError if the settings must say more."""
        if row.problem:
            raise BadRow("unreadable", row.problem)
        if not isinstance(row.fields, Mapping):
            raise BadRow("wrong_type", f"a row must be an object with named fields, not {kind_of(row.fields)}")
        fields = Row(row.fields, self.source, self.notes, row.place, self.keep_ties)
        self.layout = self.layout or self._detect(fields)
        found = LAYOUTS[self.layout or "pair"].read(fields)
        meta = {"file": row.file, "line": row.line} | _benchmark_fields(row.fields)
        if isinstance(row.fields.get("id"), str | int):
            meta["row_id"] = str(row.fields["id"])
        return [self._pair(one, fields, meta) for one in found]

    def _detect(self, row: Row) -> str:
        """The only layout that the row shows, empty if it shows none."""
        found = [name for name, layout in LAYOUTS.items() if layout.fits(row)]
        if len(found) > 1:
            raise DataError(f"{row.place}: its columns fit the layouts {', '.join(found)}; name the source's `layout`")
        return found[0] if found else ""

    def _pair(self, found: Found, row: Row, meta: Mapping[str, object]) -> PreferencePair:
        for name, answer in zip(found.names, (found.chosen, found.rejected), strict=True):
            if blank(answer):
                raise BadRow("empty", f"`{name}` is an empty answer")
        if found.chosen.lstrip("\r\n").rstrip() == found.rejected.lstrip("\r\n").rstrip():
            raise BadRow("equal_answers", f"`{found.names[0]}` and `{found.names[1]}` are the same answer")
        meta = {**meta, **found.meta}
        category = _category(row) or found.category
        said = (value for key, value in meta.items() if isinstance(value, str) and key != "file")
        turns = (turn.content for turn in found.prompt)
        check_encodable(*turns, found.chosen, found.rejected, category, *found.rationales, *said)
        columns = self.source.columns
        return PreferencePair.create(
            found.prompt,
            found.chosen,
            found.rejected,
            source=self.source.label,
            category=category,
            label_source=_label_source(row.fields, self.source),
            strength=found.strength,
            rationales=found.rationales,
            guide=read_guide(row.fields, columns.rubric, columns.known_answer),
            meta=meta,
            tie=found.tie,
        )


def read_guide(fields: Mapping[str, Any], rubric: str | None, known_answer: str | None) -> Guide:
    """What these two columns of a row say; None is no column. A row may leave either empty. Raises BadRow."""
    for name in (rubric, known_answer):
        if name is not None and name not in fields:
            found = ", ".join(f"`{key}`" for key in list(fields)[:8]) or "nothing"
            raise BadRow("missing_field", f"the column `{name}` is missing (found {found})")
    try:
        criteria = read_rubric(fields[rubric] or None) if rubric else ()
    except ValueError as problem:
        raise BadRow("bad_rubric", f"`{rubric}`: {problem}") from None
    answer = fields[known_answer] if known_answer else None
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if answer is not None and not isinstance(answer, str):
        raise BadRow("wrong_type", f"`{known_answer}` is {kind_of(answer)}; it must be a string or a number")
    guide = Guide(criteria, None if answer is None or blank(answer) else answer)
    check_encodable(json.dumps(guide.plain(), ensure_ascii=False))
    return guide


def _category(row: Row) -> str:
    """The category's column, else the subset (RewardBench)."""
    name = row.source.columns.category
    known = name if name is None or name in row.fields else "subset"
    value = row.fields.get(known) if known else None
    return str(value) if isinstance(value, str | int | float) else ""


def _benchmark_fields(fields: Mapping[str, Any]) -> dict[str, str | int]:
    """What the scoring rules of benchmarks ask about a pair: columns of the row, or entries of its `meta` object."""
    meta = fields.get("meta")
    inner = meta if isinstance(meta, Mapping) else {}
    found = {name: fields[name] if name in fields else inner.get(name) for name in BENCHMARK_FIELDS}
    return {name: value for name, value in found.items() if isinstance(value, str | int)}


def _label_source(fields: Mapping[str, Any], source: SourceConfig) -> LabelSource:
    name = source.columns.label_source
    value = fields.get(name) if name else None
    if value is None:
        return source.label_source
    if value not in _LABEL_SOURCES:
        raise BadRow("wrong_type", f"`{name}` is {value!r}; use {', '.join(_LABEL_SOURCES)}")
    return value
