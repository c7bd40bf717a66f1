"""Prompts with several answers and no label: what a best-of-n is chosen from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.config.data import SourceConfig
from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.preferences.layouts import Row, texts
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.rejects import RejectLog
from genrm_rl.preferences.turns import BadRow, Notes, check_encodable, kind_of
from genrm_rl.preferences.types import Comparison, Message, content_hash, guide_parts
from genrm_rl.preferences.validation import RawRow, read_guide

LISTS = ("responses", "answers", "completions", "candidates", "outputs", "samples")
_NUMBERED = re.compile(r"(?:response|answer|completion|output)_?(\d+)")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Several answers to one prompt, and the row that they come from."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    row: RawRow
    guide: Guide = NO_GUIDE

    def compare(self, first: str, second: str) -> Comparison:
        """Two of the answers; the id is a hash of their content."""
        turns = [[turn.role, turn.content] for turn in self.prompt]
        name = content_hash(turns, first, second, *guide_parts(self.guide))
        return Comparison(name, self.prompt, first, second, guide=self.guide)


def read_candidates(source: SourceConfig, root: Path, log: RejectLog) -> list[Candidates]:
    """Rows with a prompt and a list of texts under a usual name, or in numbered columns (``response_1`` ...). What
    can't be read goes to ``log``. Raises DataError for a file that can't be read at all."""
    found = []
    for row in read_rows(source, root):
        try:
            found.append(_candidates(row, source))
        except BadRow as reason:
            log.add_row(row, reason.kind, str(reason))
    return found


def _candidates(row: RawRow, source: SourceConfig) -> Candidates:
    if row.problem:
        raise BadRow("unreadable", row.problem)
    if not hasattr(row.fields, "keys"):
        raise BadRow("wrong_type", f"a row must be an object with named fields, not {kind_of(row.fields)}")
    fields = Row(row.fields, source, Notes(), row.place)
    prompt, responses = fields.prompt(), _responses(fields)
    check_encodable(*(turn.content for turn in prompt), *responses)
    columns = source.columns
    return Candidates(prompt, responses, row, read_guide(row.fields, columns.rubric, columns.known_answer))


def _responses(row: Row) -> tuple[str, ...]:
    name = row.one_of(LISTS, "columns")
    if name is not None:
        value = row.get(name)
        if not texts(value):
            raise BadRow("wrong_type", f"`{name}` is {kind_of(value)}; it must be a list of answers (texts)")
        return tuple(value)
    numbered = sorted((int(found[1]), key) for key in row.fields if (found := _NUMBERED.fullmatch(key)))
    if not numbered:
        row.get(LISTS[0])  # says what was found instead
    return tuple(row.answer(key) for _, key in numbered)
