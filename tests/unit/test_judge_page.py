"""The judge's own page in a real browser, against replies as the service makes them: what it asks and shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Verdict
from genrm_rl.rewards.best_of import best_of
from genrm_rl.serving.contracts import Cost, Judged, JudgmentOut, JudgmentsReply, JudgmentsRequest, RewardOut
from genrm_rl.serving.operations.recent import RecentJudgments, RecentReply
from genrm_rl.serving.operations.routes import PAGE
from genrm_rl.serving.operations.static_page import read_page
from genrm_rl.serving.trainers.best_of_contract import BestOfReply, BestOfRequest
from tests.browser import Browser, Page, in_browser
from tests.unit.judging_cases import trace

pytestmark = in_browser
ATTACK = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
FAILED = "PROBE GATE FAILED: null answers beat real ones more often than 5 %: empty 9 of 20"
TOKEN = "a-token"
DONE = "document.getElementById('status').textContent === ''"


class Service:
    """Answers as the service does, with a judge that always says the same: 0.9 for A where A is first, else 0.7."""

    def __init__(self) -> None:
        self.kept = RecentJudgments(100)
        self.asked: list[dict[str, Any]] = []

    def reply(self, method: str, path: str, body: bytes, token: str) -> tuple[int, str]:
        if path == "/healthz":
            return 200, json.dumps({"judge_version": "v7", "probe_gate": FAILED, "probe_gate_passed": False})
        if token != f"Bearer {TOKEN}":
            return 401, json.dumps({"detail": "a bearer token is needed"})
        if method == "GET" and path == "/v1/judgments":
            return 200, RecentReply(judgments=self.kept.newest(20)).model_dump_json()
        if method == "GET":
            found = self.kept.get(path.rpartition("/")[2])
            return (200, found.model_dump_json()) if found else (404, json.dumps({"detail": "no judgment has this id"}))
        self.asked.append(json.loads(body))
        if path == "/v1/best_of":
            return 200, self.best_of(BestOfRequest.model_validate_json(body))
        shown = JudgmentsRequest.model_validate_json(body).shown()
        judged = [JudgmentOut.of(self.judge(each), rationales=False) for each in shown]
        return 200, JudgmentsReply(judge_version="v7", seconds=0.1, judgments=judged).model_dump_json()

    def judge(self, comparison: Any) -> Judged:
        says = [(False, Verdict.PREFERS_A, 0.9), (True, Verdict.PREFERS_B, 0.3)]
        traces = [trace(verdict, p, pair_id=comparison.pair_id, swapped=swapped) for swapped, verdict, p in says]
        judged = Judged(fold(traces), False, Cost(votes_asked=2), "v7")
        self.kept.add(comparison, judged)
        return judged

    def best_of(self, body: BestOfRequest) -> str:
        rewards = [1 / (index + 1) for index in range(len(body.responses))]
        rewards[1] = None
        outs = [
            RewardOut(reward=each, mask="not_judged" if each is None else None, judgments=["abc"]) for each in rewards
        ]
        best = best_of(rewards, body.responses)
        return BestOfReply(
            judge_version="v7", seconds=0.1, rule=body.rule or "round_robin", best=best.index, margin=best.margin,
            tied=list(best.tied), rewards=outs, judgments=[],
        ).model_dump_json()  # fmt: skip


@pytest.fixture
def service() -> Iterator[tuple[Service, str]]:
    """A service, and its address on loopback."""
    answers = Service()
    text, headers = read_page(PAGE)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path in ("/", "/favicon.ico"):
                return self._send(200, text, {"Content-Type": "text/html; charset=utf-8", **headers})
            status, words = answers.reply(self.command, self.path, body, self.headers.get("Authorization", ""))
            self._send(status, words, {"Content-Type": "application/json"})

        do_POST = do_GET

        def _send(self, status: int, words: str, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(words.encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield answers, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def click(page: Page, selector: str) -> None:
    page.value(f"document.querySelector('{selector}').click()")


def opened(browser: Browser, address: str, **size: Any) -> Page:
    page = browser.open(address, watched=True, **size)
    page.until("document.getElementById('version').textContent === 'v7'")
    page.value(f"document.getElementById('token').value = '{TOKEN}'")
    return page


def fits(page: Page, width: int, address: str) -> None:
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.faint() == [] and page.troubles(address) == []


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_an_example_is_judged_with_a_rubric_and_both_orders_are_shown_as_labelled_bars(browser, service, width, dark):
    answers, address = service
    page = opened(browser, address, width=width, dark=dark)
    warning = page.value("document.getElementById('probes').textContent")
    assert warning.startswith("Warning: this judge can be fooled") and FAILED in warning
    click(page, "#example")
    page.value("document.getElementById('rubric').value = 'short\\n\\nright'")
    page.value(f"document.getElementById('b').value += {json.dumps(ATTACK)}")
    click(page, "#ask > button:last-child")
    page.until(f"!document.getElementById('result').hidden && {DONE}")
    (comparison,) = answers.asked[0]["comparisons"]
    assert comparison["rubric"] == ["short", "right"] and comparison["response_a"] == "abcd"
    bars = "[...document.querySelectorAll('[role=img]')].map((each) => each.getAttribute('aria-label'))"
    assert page.value(bars) == [
        "A shown first: answer A wins with 90.0 %, answer B with 10.0 %",
        "B shown first: answer A wins with 70.0 %, answer B with 30.0 %",
        "both, folded: answer A wins with 80.0 %, answer B with 20.0 %",
    ]
    assert ATTACK in page.value("document.getElementById('result').textContent")
    assert page.value("document.title") == "genrm_rl judge" and page.value("document.images.length") == 0
    assert "sort dbca" in page.value("document.getElementById('recent').textContent"), "it is among the last ones"
    fits(page, width, address)


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_a_group_is_ranked_best_first_and_a_mask_is_no_number(browser, service, width, dark):
    answers, address = service
    page = opened(browser, address, width=width, dark=dark)
    click(page, "#example-group")
    click(page, "#add")
    page.type(ATTACK)
    page.value("document.getElementById('rule').value = 'circular'")
    click(page, "#ask > button:last-child")
    page.until(f"!document.getElementById('ranking').hidden && {DONE}")
    asked = answers.asked[0]
    assert len(asked["responses"]) == 5 and asked["responses"][4] == ATTACK and asked["rule"] == "circular"
    rows = page.value(
        "[...document.querySelectorAll('#ranking tbody tr')].map((each) => [...each.cells].map((c) => c.textContent))"
    )
    assert [row[0] for row in rows] == ["Answer 1", "Answer 3", "Answer 4", "Answer 5", "Answer 2"]
    assert rows[0][2] == "1.0000" and rows[-1][2] == "none: not judged" and rows[3][1] == ATTACK
    assert page.value("document.querySelector('#ranking h2').textContent") == "Answer 1 is best"
    assert page.value("document.images.length") == 0
    fits(page, width, address)


def test_the_last_judgments_are_listed_and_open_and_a_missing_token_is_said(browser, service):
    answers, address = service
    for prompt in ("first question", ATTACK):
        (shown,) = JudgmentsRequest.model_validate(
            {"comparisons": [{"prompt": prompt, "response_a": "yes", "response_b": "no"}]}
        ).shown()
        answers.judge(shown)
    page = browser.open(address)
    click(page, "#refresh")
    page.until("document.getElementById('status').textContent === '401: a bearer token is needed'")
    page.value(f"document.getElementById('token').value = '{TOKEN}'")
    click(page, "#refresh")
    page.until("document.querySelectorAll('#recent li').length === 2")
    assert page.value("document.querySelector('#recent a').textContent") == ATTACK, "newest first"
    click(page, "#recent li:last-child a")
    page.until(f"!document.getElementById('result').hidden && {DONE}")
    assert "first question" in page.value("document.getElementById('result').textContent")
