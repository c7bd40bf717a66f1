"""The reward client against a server that fails in every way that a service can fail: no reward is ever invented."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from genrm_rl.alignment.answers import Answer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.rewarding import ServiceRewarder, ask
from genrm_rl.config.alignment import SamplingConfig
from genrm_rl.config.reward import RewardConfig
from genrm_rl.preferences.types import Message
from genrm_rl.rewards import faults
from genrm_rl.rewards.client import Group, RewardClient, RewardServiceError
from genrm_rl.rewards.types import Mask
from genrm_rl.serving.refusals import absent as absent_headers

GROUP = Group("add 1 2", ("3", "4"))
FAST = {"backoff": 0.01, "max_backoff": 0.05, "attempts": 3, "deadline": 5.0}


def good_reply(body: dict) -> tuple[int, dict, dict]:
    responses = body["groups"][0]["responses"]
    group = [{"reward": float(i), "mask": None, "judgments": ["j"]} for i in range(len(responses))]
    orders = {"verdict_ab": "prefers_b", "verdict_ba": "prefers_b", "votes": 2}
    judgment = {"id": "j", "verdict": "prefers_b", "p_a": 0.1, "consistent": True, **orders}
    return 200, {}, {"judge_version": body["judge_version"], "seconds": 0.0, "groups": [group], "judgments": [judgment]}


class Service:
    """An HTTP server whose n-th answer to /v1/rewards is ``script[n]``, and a good one afterwards."""

    def __init__(self) -> None:
        self.script: list[Callable[[dict], tuple[int, dict, dict] | None]] = []
        self.health: list[tuple[int, dict, dict]] = []  # answers to /healthz before the good ones
        self.bodies: list[dict] = []
        self.times: list[float] = []
        self.busy = 0
        self.busy_at: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer(*(outer.health.pop(0) if outer.health else (200, {}, {"judge_version": "v1"})))

            def do_POST(self) -> None:
                outer.busy += 1
                outer.busy_at.append(outer.busy)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.times.append(time.monotonic())
                number = len(outer.bodies) - 1
                reply = outer.script[number](body) if number < len(outer.script) else good_reply(body)
                outer.busy -= 1
                if reply is None:
                    self.connection.close()  # the caller sees a lost connection
                else:
                    self.answer(*reply)

            def answer(self, status: int, headers: dict, body: dict) -> None:
                payload = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()


def client_of(service: Service, said: list[str] | None = None, **settings: object) -> RewardClient:
    config = RewardConfig(**(FAST | settings))  # type: ignore[arg-type]
    return RewardClient(service.url, config, say=(said if said is not None else []).append)


def test_rewards_and_the_judgments_behind_them(service):
    with client_of(service) as client:
        (found,) = client.rewards([GROUP])
    assert [record.reward for record in found.records] == [0.0, 1.0]
    assert found.records[0].judgments == ("j",) and found.judgments[0]["p_a"] == 0.1
    assert service.bodies[0]["judge_version"] == "v1"


def test_retry_after_is_honoured(service):
    service.script = [lambda _: (503, {"Retry-After": "1"}, {"detail": "busy"})]
    with client_of(service) as client:
        (found,) = client.rewards([GROUP])
        assert client.statistics.busy == 1
    assert found.records[1].reward == 1.0
    assert service.times[1] - service.times[0] >= 1


@pytest.mark.parametrize(("status", "mask"), [(503, Mask.BUSY), (429, Mask.BUSY), (409, Mask.OTHER_VERSION)])
def test_a_service_that_goes_on_refusing_gives_masks(service, status, mask):
    service.script = [lambda _: (status, {}, {"detail": "no"})] * 9
    with client_of(service) as client:
        (found,) = client.rewards([GROUP])
    assert [(record.reward, record.mask) for record in found.records] == [(None, mask)] * 2
    assert len(service.bodies) == 3  # reward.attempts


def test_a_refused_group_is_masked_at_once_and_said(service):
    service.script = [lambda _: (422, {}, {"detail": "comparison 0: too long"})]
    said: list[str] = []
    with client_of(service, said) as client:
        (found,) = client.rewards([GROUP])
    assert {record.mask for record in found.records} == {Mask.REFUSED}
    assert len(service.bodies) == 1 and "too long" in said[0]


def test_a_lost_connection_is_waited_for(service):
    service.script = [lambda _: None] * 4
    said: list[str] = []
    with client_of(service, said, breaker_failures=2) as client:
        (found,) = client.rewards([GROUP])
        assert client.statistics.lost == 4 and client.statistics.paused_seconds > 0
    assert found.records[1].reward == 1.0
    assert "generation pauses" in said[0]


def test_a_judge_without_a_replica_is_waited_for_like_a_lost_connection(service):
    service.script = [lambda _: (502, {}, {"detail": "the judge has no replica"})] * 9
    said: list[str] = []
    with client_of(service, said) as client:
        (found,) = client.rewards([GROUP])
        assert client.statistics.lost == 9 > client.config.attempts
    assert found.records[1].reward == 1.0
    assert "has no replica" in said[0] and "generation pauses" in said[0]


def test_an_open_breaker_lets_one_call_through_at_a_time(service):
    def drop(_: dict) -> None:
        time.sleep(0.02)

    service.script = [drop] * 20
    with client_of(service, breaker_failures=1, max_in_flight=8) as client:
        found = client.rewards([Group(f"add {i} 2", ("3", "4")) for i in range(8)])
    assert all(reward.records[1].reward == 1.0 for reward in found)
    assert max(service.busy_at[8:20]) == 1  # the first eight were under way when the first of them failed


def test_nobody_there_for_too_long_stops_with_a_way_out():
    said: list[str] = []
    config = RewardConfig(**(FAST | {"start_deadline": 0.2}))
    with (
        RewardClient("http://127.0.0.1:9", config, say=said.append) as client,
        pytest.raises(RewardServiceError, match=r"no genrm_rl reward service answers at .*; check reward.url"),
    ):
        client.judge_version()
    assert "not up yet" in said[0] and "reward.start_deadline" in said[0]


def test_a_judge_that_goes_away_for_too_long_stops_with_a_way_out(service):
    with client_of(service, give_up_after=0.2) as client:
        assert client.judge_version() == "v1"
        service.script = [lambda _: None] * 100
        with pytest.raises(RewardServiceError, match="same run id"):
            client.rewards([GROUP], judge_version="v1")


@pytest.mark.parametrize("status", [404, 503, 502])
def test_a_service_that_is_still_starting_is_waited_for(service, status):
    service.health = [(status, {}, {"detail": "Path '/healthz' not found."})] * 3
    said: list[str] = []
    with client_of(service, said) as client:
        assert client.judge_version() == "v1"
    assert "not up yet" in said[0] and str(status) in said[0]


def test_a_judge_that_starts_again_is_waited_for_longer_than_a_busy_one(service):
    absent = (503, absent_headers(0.0), {"detail": "the judge is starting, which may take minutes; ask again"})
    service.script = [lambda _: absent] * 4
    said: list[str] = []
    with client_of(service, said, attempts=2) as client:
        client.judge_version()
        (found,) = client.rewards([GROUP])
    assert found.records[1].reward == 1.0
    assert "the judge is starting" in said[0] and "generation pauses until it is back" in said[0]


def test_routes_that_are_gone_for_a_while_are_waited_for(service):
    service.script = [lambda _: (404, {}, {"detail": "Path '/v1/rewards' not found."})] * 3
    with client_of(service) as client:
        (found,) = client.rewards([GROUP])
    assert found.records[1].reward == 1.0


@pytest.mark.parametrize("body", [[], {"status": "ok"}, {"judge_version": 3}])
def test_another_service_is_named_at_once(service, body):
    service.health = [(200, {}, body)]
    with client_of(service) as client, pytest.raises(RewardServiceError, match="check reward.url"):
        client.judge_version()


def test_no_more_groups_are_in_flight_than_allowed(service):
    def slow(body: dict) -> tuple[int, dict, dict]:
        time.sleep(0.05)
        return good_reply(body)

    service.script = [slow] * 12
    with client_of(service, max_in_flight=2) as client:
        client.rewards([Group(f"add {i} 2", ("3", "4")) for i in range(12)])
    assert max(service.busy_at) <= 2


def test_a_token_that_is_missing_is_said(service):
    service.script = [lambda _: (401, {}, {"detail": "token"})]
    with client_of(service) as client, pytest.raises(RewardServiceError, match="token"):
        client.rewards([GROUP])


def changed(**changes: object) -> Callable[[dict], tuple[int, dict, dict]]:
    """A good reply with other fields."""
    return lambda body: (200, {}, good_reply(body)[2] | changes)


NAN = float("nan")
BROKEN = {
    "other shape": changed(groups={}),
    "too few rewards": changed(groups=[[{"reward": 1.0, "mask": None, "judgments": ["j"]}]]),
    "NaN": changed(groups=[[{"reward": NAN, "mask": None, "judgments": ["j"]}] * 2]),
    "text": changed(groups=[[{"reward": "1.0", "mask": None, "judgments": ["j"]}] * 2]),
    "truth value": changed(groups=[[{"reward": True, "mask": None, "judgments": ["j"]}] * 2]),
    "reward and mask": changed(groups=[[{"reward": 1.0, "mask": "alone", "judgments": ["j"]}] * 2]),
    "neither": changed(groups=[[{"reward": None, "mask": None, "judgments": ["j"]}] * 2]),
    "unknown mask": changed(groups=[[{"reward": None, "mask": "tired", "judgments": []}] * 2]),
    "no judgment behind it": changed(groups=[[{"reward": 1.0, "mask": None, "judgments": []}] * 2]),
    "judgment that is not there": changed(groups=[[{"reward": 1.0, "mask": None, "judgments": ["k"]}] * 2]),
    "absurd": changed(groups=[[{"reward": 1e300, "mask": None, "judgments": ["j"]}] * 2]),
    "judgment without consistent": changed(judgments=[{"id": "j", "verdict": "prefers_b", "p_a": 0.1}]),
    "consistent as text": changed(judgments=[{"id": "j", "verdict": "prefers_b", "p_a": 0.1, "consistent": "yes"}]),
    "no probability": changed(judgments=[{"id": "j", "verdict": "prefers_b", "p_a": 1.1, "consistent": None}]),
    "no verdict": changed(judgments=[{"id": "j", "p_a": 0.1, "consistent": None}]),
    "a list": lambda body: (200, {}, []),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_reply_that_breaks_the_contract_is_asked_for_again(service: Service, kind: str) -> None:
    service.script = [BROKEN[kind]]
    with RewardClient(service.url, RewardConfig(**FAST), say=lambda text: None) as client:
        (found,) = client.rewards([GROUP])
    assert [record.reward for record in found.records] == [0.0, 1.0]
    assert client.statistics.unreadable == 1


def test_what_stays_unreadable_is_masked(service: Service) -> None:
    service.script = [BROKEN["NaN"]] * 3
    said: list[str] = []
    with RewardClient(service.url, RewardConfig(**FAST), say=said.append) as client:
        (found,) = client.rewards([GROUP])
    assert {record.mask for record in found.records} == {Mask.UNREADABLE}
    assert "NaN is no number" in said[0]


def test_a_reply_of_another_judge_than_the_one_asked_is_no_reward(service: Service) -> None:
    service.script = [changed(judge_version="v2")] * 3
    with RewardClient(service.url, RewardConfig(**FAST), say=lambda text: None) as client:
        (found,) = client.rewards([GROUP])
    assert {record.mask for record in found.records} == {Mask.OTHER_VERSION}
    assert {record.judge_version for record in found.records} == {"v1"}


def test_the_trainer_sends_the_reference_answer_and_masks_what_has_none(service: Service) -> None:
    """And neither an answer that failed nor one that was cut off."""

    def answer(index: int, text: str, finish: str = "stop") -> Answer:
        return Answer("p", index, (1, 2) if finish == "stop" else (), text, (0.0, 0.0), finish, "base")

    answers = [answer(0, "3"), answer(1, "", "failed"), answer(2, "4"), replace(answer(3, "5"), finish_reason="length")]
    known = PolicyPrompt("p", (Message("user", "add 1 2"),), (1,), reference="3")
    with client_of(service, rule="log_odds") as client:
        rewarder = ServiceRewarder(client)
        version = rewarder.begin_step()
        judged, _ = ask(rewarder, known, answers, SamplingConfig(), version).result()
        masked, _ = ask(rewarder, replace(known, reference=None), answers, SamplingConfig(), version).result()
        nobody, _ = ask(rewarder, known, answers[1:2], SamplingConfig(), version).result()
    assert [body["groups"][0]["reference"] for body in service.bodies] == ["3"]
    assert [each.record.reward for each in judged] == [0.0, None, 1.0, None]
    unknown, failed, cut = Mask.NO_REFERENCE, Mask.NOT_GENERATED, Mask.TRUNCATED
    assert [each.record.mask for each in masked] == [unknown, failed, unknown, cut]
    assert [each.record.mask for each in nobody] == [failed]


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_nothing_is_invented_under_any_fault(
    service: Service, fault: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faults, "FAULTS", (fault,))
    groups = [Group(f"add 1 {n}", ("3", "4", "5")) for n in range(12)]
    with (
        faults.FaultyProxy(service.url, rate=0.5, seed=1, late_seconds=0.05) as proxy,
        RewardClient(proxy.url, RewardConfig(**FAST), say=lambda text: None) as client,
    ):
        found = client.rewards(groups)
    assert proxy.truth.faults[fault] > 0
    masked = 0
    for group, reward in zip(groups, found, strict=True):
        given = proxy.truth.rewards[faults.group_key(group.prompt, list(group.responses))]
        for place, record in enumerate(reward.records):
            assert record.mask is not None or record.reward in [rewards[place] for rewards in given]
            masked += record.mask is not None
    assert masked < 36, "what can be asked again is asked again"
    assert "Traceback" not in capfd.readouterr().err
