"""Who may come in is decided from the head of a call, before a byte of its body is read."""

from __future__ import annotations

import asyncio
import json

import pytest

from genrm_rl.config.serving import ServingConfig
from genrm_rl.rewards.wire import ABSENT_HEADER
from genrm_rl.serving.desk.admission import Admission
from genrm_rl.serving.desk.door import Door, Doorkeeper, is_open
from genrm_rl.serving.operations.calls import Call
from genrm_rl.serving.operations.metrics import ServiceMetrics

TOKEN = "sécret"


def call(keeper: Doorkeeper, path: str = "/v1/judgments", client: str = "10.0.0.1", **headers: str) -> tuple:
    """Status (200: came in), sentence and headers of the reply."""
    sent: list[dict] = []

    async def inside(scope: dict, receive: object, send: object) -> None:
        sent.append({"status": 200, "headers": [], "calls": keeper.calls})

    async def receive() -> dict:
        raise AssertionError("the body was asked for")

    async def send(message: dict) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:8000"} | headers).items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": pairs, "client": (client, 1234)}
    asyncio.run(Door(inside, lambda: keeper)(scope, receive, send))
    sentence = json.loads(sent[1]["body"])["detail"] if len(sent) > 1 else ""
    return sent[0]["status"], sentence, dict(sent[0]["headers"])


@pytest.mark.parametrize("path", ["/v1/judgments", "/v1/rewards", "/metrics", "/nowhere", "/healthz/x", "/docs2"])
def test_a_stranger_gets_nothing_but_401(path: str) -> None:
    keeper = Doorkeeper(ServingConfig(), TOKEN)
    status, sentence, headers = call(keeper, path)
    assert (status, sentence) == (401, "a bearer token is needed")
    assert headers[b"www-authenticate"] == b"Bearer" and headers[b"connection"] == b"close"


@pytest.mark.parametrize("path", ["/", "/healthz", "/docs", "/docs/start.js", "/openapi.json"])
def test_what_is_for_everybody_says_nothing_of_judgments(path: str) -> None:
    assert call(Doorkeeper(ServingConfig(), TOKEN), path)[0] == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        *((f"{scheme} {TOKEN}", 200) for scheme in ("Bearer", "bearer", "BEARER")),
        *(
            (wrong, 401)
            for wrong in (TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", "Bearer secret", f"Bearer {TOKEN}x")
        ),
    ],
)
def test_the_token_and_its_scheme_are_compared(header: str, status: int) -> None:
    assert call(Doorkeeper(ServingConfig(), TOKEN), authorization=header)[0] == status


def test_without_a_token_everybody_on_the_machine_may_call() -> None:
    assert call(Doorkeeper(ServingConfig(), ""))[0] == 200


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        *((name, {}, 200) for name in ("127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000")),
        *((name, {}, 421) for name in ("evil.example", "127.0.0.1.evil.example:8000", "", "[::2]")),
        ("judge.lan:8000", {"host_names": ("judge.lan",)}, 200),
        ("10.1.2.3:8000", {"host": "0.0.0.0"}, 200),
        ("10.1.2.3:8000", {"host": "0.0.0.0", "host_names": ("judge.lan",)}, 421),
    ],
)
def test_a_page_elsewhere_can_not_call_under_its_own_name(host: str, settings: dict, status: int) -> None:
    keeper = Doorkeeper(ServingConfig(**settings), "")
    assert [call(keeper, path, host=host)[0] for path in ("/v1/judgments", "/healthz")] == [status] * 2


def test_one_client_may_not_take_all_calls() -> None:
    keeper = Doorkeeper(ServingConfig(calls_per_minute=3), "")
    replies = [call(keeper) for _ in range(5)]
    assert [status for status, *_ in replies] == [200, 200, 200, 429, 429]
    assert 1 <= int(replies[-1][2][b"retry-after"]) <= 20
    assert call(keeper, client="10.0.0.2")[0] == 200 and call(keeper, "/healthz")[0] == 200


def test_a_closed_door_says_when_to_come_again_and_calls_inside_are_counted() -> None:
    keeper = Doorkeeper(ServingConfig(), "")
    assert call(keeper)[0] == 200 and keeper.calls == 0
    keeper.closed = "the service is stopping"
    status, sentence, headers = call(keeper)
    assert (status, sentence, headers[b"retry-after"]) == (503, "the service is stopping", b"1")
    assert headers[ABSENT_HEADER.lower().encode()] == b"1"


def test_a_busy_judge_refuses_before_the_body_and_only_what_asks_for_judgments() -> None:
    admission = Admission(ServingConfig(max_pending=8, retry_after=3), lambda pending: None)
    keeper = Doorkeeper(ServingConfig(max_pending=8, retry_after=3), "", admission.busy)

    async def with_pending(count: int) -> list[tuple]:
        async with admission.room(count):
            return await asyncio.to_thread(lambda: [call(keeper, path) for path in ("/v1/rewards", "/v1/judge")])

    assert [status for status, *_ in asyncio.run(with_pending(7))] == [200, 200]
    (status, sentence, headers), other = asyncio.run(with_pending(8))
    assert (status, headers[b"retry-after"]) == (503, b"3") and "busy with 8 comparisons" in sentence
    assert ABSENT_HEADER.lower().encode() not in headers
    assert other[0] == 200 and call(keeper)[0] == 200


def test_paths_below_a_prefix_are_the_same_paths() -> None:
    assert is_open({"path": "/judge/healthz", "root_path": "/judge"}) and is_open(
        {"path": "/judge", "root_path": "/judge"}
    )
    assert not is_open({"path": "/judge/v1/judgments", "root_path": "/judge"})


def test_clients_can_not_make_up_metrics() -> None:
    metrics = ServiceMetrics(lambda: 0)
    for number in range(100):
        metrics.call(Call(f"M{number}", "", status=405))
    assert metrics.page().decode().count("genrm_rl_requests_total{") == 1
