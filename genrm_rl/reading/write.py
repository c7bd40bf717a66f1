"""The reader's files: static pages of two hundred judgments, which need no script, and data for search and filters.

``index.html`` (parts, filters, search), ``pages/00000.html`` ..., ``data/overview.js`` (filters of every item),
``data/rows-0.js`` (a line per item), ``data/words-0.js`` (:mod:`genrm_rl.reading.word_index`). Data are scripts, not
JSON: a page that is opened from a disk may load scripts beside it and fetch nothing.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from genrm_rl.evaluation.pages import page_environment
from genrm_rl.reading import words
from genrm_rl.reading.types import Flag, Item, Part, ReadGroup, ReadJudgment, ReadTraces
from genrm_rl.reading.word_index import WordIndex

ITEMS_PER_PAGE = 200
ITEMS_PER_ROWS = 1000
TITLE_CHARACTERS = 90
ASSETS = ("reader.css", "reader.js")
COUNTED = (Flag.RIGHT, Flag.WRONG, Flag.CONTRADICTORY, Flag.NO_VERDICT, Flag.MASKED, Flag.KEPT)


@dataclass
class PartSummary:
    """A part on the first page: where it begins, how many items and of which kinds."""

    name: str
    about: str
    start: int  # number of its first item
    first_id: str = ""
    items: int = 0
    groups: int = 0
    traces: int = 0
    counts: Counter[Flag] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """An item on a page: its number in the whole reader, its flags and part, and the number of its group."""

    number: int
    item: Item
    flags: Flag
    part: str
    group: int | None = None

    @property
    def contradictory(self) -> bool:
        """Whether the orders of a judgment name different answers."""
        return bool(self.flags & Flag.CONTRADICTORY)

    @property
    def is_group(self) -> bool:
        """Whether it is a group of rewarded answers."""
        return bool(self.flags & Flag.GROUP)

    @property
    def is_traces(self) -> bool:
        """Whether it is what was sampled of a pair for training."""
        return bool(self.flags & Flag.TRACES)

    def address(self, number: int, identifier: str) -> str:
        """Of another item, as seen from this one's page."""
        page = page_of(number)
        return f"{'' if page == page_of(self.number) else f'{page:05d}.html'}#{identifier}"


def page_of(number: int) -> int:
    """The page on which an item is."""
    return number // ITEMS_PER_PAGE


class Writer:
    """Writes a reader into ``folder``, item by item; ``scratch`` is for what is thrown away. ``report``: whether the
    run has a page that the first one can lead back to."""

    def __init__(self, folder: Path, scratch: Path, run: str, *, report: bool) -> None:
        self.folder, self.run, self.report = folder, run, report
        for name in ("pages", "data"):
            (folder / name).mkdir()
        environment = page_environment("genrm_rl.reading")
        environment.filters |= {name: getattr(words, name) for name in words.FILTERS}
        self._page = environment.get_template("page.html.j2")
        self._index = environment.get_template("index.html.j2")
        self._words = WordIndex(scratch / "words")
        self._waiting: list[Entry] = []
        self._rows: list[list[Any]] = []
        self._flags = array("H")
        self._groups: dict[str, int] = {}  # number of each group of the part that is being written
        self.parts: list[PartSummary] = []

    @property
    def items(self) -> int:
        """Written so far."""
        return len(self._flags)

    def write(self, parts: Iterable[Part]) -> None:
        """All parts, then the first page and the data."""
        for part in parts:
            self._write_part(part)
        self._end_page(last=True)
        self._end_rows()
        for number, found in self._words.files():
            self._data(f"words-{number}", found)
        overview = {
            "items": self.items,
            "page": ITEMS_PER_PAGE,
            "flags": "".join(f"{flags:04x}" for flags in self._flags),
            "parts": [[part.name, part.start, part.items] for part in self.parts],
            "rows": ITEMS_PER_ROWS,
            "buckets": self._words.buckets,
        }
        self._data("overview", json.dumps(overview, separators=(",", ":")))
        shown = {"parts": self.parts, "counted": COUNTED, "items": self.items, "page_of": page_of}
        self._render("index.html", self._index, report=self.report, **shown)
        source = files("genrm_rl.reading") / "templates"
        shared = files("genrm_rl.evaluation") / "templates" / "report.css"
        for name in ASSETS:
            text = (source / name).read_text(encoding="utf-8")
            text = shared.read_text(encoding="utf-8") + text if name.endswith(".css") else text
            (self.folder / name).write_text(text, encoding="utf-8")

    def _write_part(self, part: Part) -> None:
        summary = PartSummary(part.name, part.about, self.items)
        self._groups.clear()
        for item in part.items:
            summary.first_id = summary.first_id or item.id
            summary.items += 1
            summary.groups += isinstance(item, ReadGroup)
            summary.traces += len(item.traces) if isinstance(item, ReadTraces) else 0
            summary.counts.update(flag for flags in item.tally for flag in COUNTED if flags & flag)
            self._add(item, item.flags, part.name)
        summary.notes = part.notes
        self.parts.append(summary)

    def _add(self, item: Item, flags: Flag, part: str) -> None:
        if len(self._waiting) == ITEMS_PER_PAGE:
            self._end_page()
        group = None
        if isinstance(item, ReadGroup):
            self._groups[item.id] = self.items
        elif isinstance(item, ReadJudgment):
            group = self._groups.get(item.group)
        self._waiting.append(Entry(self.items, item, flags, part, group))
        self._rows.append([item.id, " ".join(item.title.split())[:TITLE_CHARACTERS], words.in_short(item)])
        self._words.add(item.words())
        self._flags.append(flags)
        if len(self._rows) == ITEMS_PER_ROWS:
            self._end_rows()

    def _end_page(self, *, last: bool = False) -> None:
        if self._waiting:
            number = page_of(self._waiting[0].number)
            self._render(f"pages/{number:05d}.html", self._page, entries=self._waiting, number=number, last=last)
            self._waiting = []

    def _end_rows(self) -> None:
        if self._rows:
            number = (self.items - 1) // ITEMS_PER_ROWS
            self._data(f"rows-{number}", json.dumps(self._rows, separators=(",", ":")))
            self._rows = []

    def _render(self, name: str, template: jinja2.Template, **values: Any) -> None:
        text = template.render(run=self.run, **values)
        (self.folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")

    def _data(self, name: str, value: str) -> None:
        """A value as a script that hands it to the page; JSON in ASCII is JavaScript."""
        (self.folder / "data" / f"{name}.js").write_text(f'reader.put("{name}",{value});\n', encoding="ascii")
