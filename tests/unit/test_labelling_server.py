"""The desk over HTTP: whom it lets in, what it shows, and what it makes of a bad call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.config.rubric import Criterion
from genrm_rl.labelling.book import Book
from genrm_rl.labelling.server import MOST_BYTES, DeskService
from genrm_rl.labelling.types import Task
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.types import Message

ATTACK = "<img src=x onerror=alert(1)>"
TASKS = [
    Task.create((Message("user", f"question {n}"),), f"yes {n}", ATTACK, guide=Guide((), "yes"), doubt=0.123456)
    for n in range(30)
]


class Caller:
    """Calls of one person to a desk of this process."""

    def __init__(self, book: Book, annotator: str = "p1") -> None:
        self.book = book
        self.app = DeskService(book, book.tokens(), clock=lambda: 5.0).app()
        self.headers = {"Authorization": f"Bearer {book.tokens()[annotator]}"}

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://desk") as client:
                return await client.request(method, path, headers=options.pop("headers", self.headers), **options)

        return asyncio.run(ask())

    def next(self) -> dict[str, Any]:
        return self("GET", "/api/next").json()

    def label(self, **body: Any) -> httpx.Response:
        return self("POST", "/api/label", json=body)


@pytest.fixture
def caller(tmp_path: Path):
    with Book(tmp_path, TASKS, LabellingConfig(annotators=3, longest_reason=20), 0) as book:
        yield lambda annotator="p1": Caller(book, annotator)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer é"}, "Basic {}", "{}x"])
def test_without_a_link_of_this_desk_nothing_is_shown_or_kept(caller: Callable[..., Caller], header):
    desk = caller()
    token = desk.headers["Authorization"].removeprefix("Bearer ")
    if isinstance(header, str):
        header = {"Authorization": header.format(token) if "Basic" in header else f"Bearer {header.format(token)}"}
    header = {key: value.encode("utf-8") for key, value in header.items()}
    for method, path, body in (("GET", "/api/next", None), ("POST", "/api/label", {"task": "x", "choice": "a"})):
        refused = desk(method, path, headers=header, json=body)
        assert refused.status_code == 401 and "question" not in refused.text
    assert not desk.book.journal.path.read_bytes()


def test_a_person_sees_texts_and_sides_and_nothing_that_tells_them_apart(caller):
    found = caller().next()
    assert set(found["task"]) == {"id", "prompt", "a", "b", "criteria", "known_answer"}
    assert "0.12" not in str(found) and "answer_a" not in str(found)


def test_the_side_that_was_chosen_becomes_the_answer_that_stood_there(caller):
    desk = caller()
    view, sides = desk.next(), set()
    while view["state"] == "task":
        shown = view["task"]
        better = "b" if shown["a"] == ATTACK else "a"
        sides.add(better)
        view = desk.label(task=shown["id"], choice=better, reason=f"[{better.upper()}]", seconds=3.5).json()
    assert sides == {"a", "b"} and view["state"] == "done"
    labels = desk.book.desk.by("p1")
    assert {label.choice for label in labels} == {"a"}, "the good answer is the file's answer a"
    assert all(label.swapped == (label.reason == "[B]") for label in labels)
    assert view["progress"] == {"mine": 30, "settled": 30, "needed": 30, "seconds": 105.0, "median_seconds": 3.5}


def test_undo_shows_the_comparison_again_with_the_reason(caller):
    desk = caller()
    task = desk.next()["task"]
    after = desk.label(task=task["id"], choice="a", reason="so").json()
    assert after["last"] == task["id"] and after["task"]["id"] != task["id"]
    for _ in range(2):
        undone = desk("POST", "/api/undo", json={"task": task["id"]}).json()
        assert undone["task"] == task and undone["progress"]["mine"] == 0
    assert desk.label(task=task["id"], choice="b").json()["progress"]["mine"] == 1


def test_three_people_who_look_at_once_see_three_comparisons(caller):
    assert len({caller(who).next()["task"]["id"] for who in ("p1", "p2", "p3")}) == 3


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 422, "Invalid JSON"),
        (b'{"task": "TASK", "choice": "c"}', 422, "choice: Input should be"),
        (b'{"task": "TASK", "choice": "a", "by": "p2"}', 422, "by: Extra inputs"),
        (b'{"task": "TASK", "choice": "a", "seconds": -1}', 422, "seconds: "),
        (b'{"task": "TASK", "choice": "a", "seconds": NaN}', 422, "seconds: "),
        (b'{"task": "TASK", "choice": "a", "reason": "%s"}' % (b"x" * 21), 422, "more than 20 characters"),
        (b'{"task": "TASK", "choice": "a", "reason": "\\ud800"}', 422, ""),
        (b'{"task": "elsewhere", "choice": "a"}', 404, "no such comparison"),
        (b"[" * 10_000, 422, "Invalid JSON"),
        (b" " * (MOST_BYTES + 1), 413, f"may have {MOST_BYTES} bytes"),
    ],
)
def test_a_bad_call_is_one_sentence_and_leaves_nothing(caller, body, status, says):
    desk = caller()
    body = body.replace(b"TASK", TASKS[0].id.encode())
    refused = desk("POST", "/api/label", content=body)
    assert refused.status_code == status and says in refused.json()["detail"]
    assert not desk.book.journal.path.read_bytes()


def test_another_word_about_the_same_comparison_is_a_conflict(caller):
    desk = caller()
    assert desk.label(task=TASKS[0].id, choice="a").status_code == 200
    assert desk.label(task=TASKS[0].id, choice="a").status_code == 200
    refused = desk.label(task=TASKS[0].id, choice="tie")
    assert refused.status_code == 409 and "undo that first" in refused.json()["detail"]
    assert len(desk.book.desk.by("p1")) == 1


def test_what_the_judge_is_told_a_person_is_told(tmp_path):
    guide = Guide((Criterion(name="brevity", description="short is better"),), None)
    with Book(tmp_path, [Task.create((Message("user", "q"),), "1", "2", guide=guide)], LabellingConfig(), 0) as book:
        assert Caller(book).next()["task"]["criteria"] == ["brevity: short is better"]


def test_the_page_needs_nothing_from_elsewhere_and_holds_nothing(caller):
    reply = caller()("GET", "/", headers={})
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/html")
    assert not re.search(r"(src|href)=|https?://|@import|url\(|innerHTML|question \d", reply.text)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert reply.headers["referrer-policy"] == "no-referrer" and reply.headers["cache-control"] == "no-store"


def test_the_page_is_made_for_phones_the_dark_and_screen_readers(caller):
    page = caller()("GET", "/").text
    assert 'name="viewport" content="width=device-width' in page and 'content="light dark"' in page
    assert not re.search(r"[{;]\s*(min-)?width:\s*\d+(px|rem)", page), "no width that a narrow window can't have"
    assert 'lang="en"' in page and 'role="status" aria-live="polite"' in page
    named = set(re.findall(r'id="([^"]+)"', page))
    assert {
        each for ids in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', page) for each in ids.split()
    } <= named
    assert {"a", "b", "t", "s", "u"} == set(re.findall(r'aria-keyshortcuts="(\w)"', page))
