"""Log lines: valid JSON whatever is in them, texts only when asked, and calls measured whatever becomes of them."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import nullcontext
from pathlib import Path

import pytest

from genrm_rl.errors import ConfigError
from genrm_rl.serving.operations.call_log import LOGGER, log_call, open_log
from genrm_rl.serving.operations.calls import LOST, UNMATCHED, Call, Observed, current_call
from tests.attacks import ATTACKS
from tests.unit.judging_cases import comparison


@pytest.fixture
def path(tmp_path: Path):
    yield tmp_path / "new" / "calls.jsonl"
    open_log(None)
    logger = logging.getLogger(LOGGER)
    logger.handlers.clear()
    logger.propagate = True


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize("texts", [False, True])
def test_texts_are_logged_only_when_asked_and_can_not_forge_a_line(path: Path, texts: bool) -> None:
    open_log(str(path))
    shown = [comparison(a=attack.text, b="b", prompt=attack.text) for attack in ATTACKS if attack.kind != "huge"]
    log_call(Call("POST", 'id"\n{"level": "INFO"}', "/v1/judgments", 200, 0.5, shown, "v"), texts=texts)
    log_call(Call("GET", "probe", "/healthz", 200), texts=texts)
    (line,) = lines(path)
    assert line["comparisons"] == len(shown) and line["seconds"] == 0.5 and line["status"] == 200
    assert line["judge_version"] == "v" and ("texts" in line) == texts
    if texts:
        assert [each["response_a"] for each in line["texts"]] == [each.response_a for each in shown]


def test_a_log_that_can_not_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="serving.log_path .* can't be written"):
        open_log(str(tmp_path))


@pytest.mark.parametrize(("outcome", "status"), [("answers", 204), ("fails", 500), ("hangs up", LOST)])
def test_every_call_is_reported_with_its_status(outcome: str, status: int) -> None:
    reported: list[Call] = []

    async def app(scope: dict, receive: object, send) -> None:
        assert current_call() is not None
        if outcome == "fails":
            raise RuntimeError
        if outcome == "hangs up":
            raise asyncio.CancelledError
        await send({"type": "http.response.start", "status": 204})

    async def send(message: dict) -> None:
        pass

    async def call() -> None:
        scope = {"type": "http", "method": "GET", "headers": [(b"x-request-id", b"7")]}
        await Observed(app, reported.append)(scope, None, send)

    with pytest.raises((RuntimeError, asyncio.CancelledError)) if outcome != "answers" else nullcontext():
        asyncio.run(call())
    ((method, identifier, endpoint, found),) = [(c.method, c.request_id, c.endpoint, c.status) for c in reported]
    assert (method, identifier, endpoint, found) == ("GET", "7", UNMATCHED, status)
    assert current_call() is None
