"""What an operator and a bill see: votes and tokens saved, caches, limits."""

from __future__ import annotations

import os
import signal
import time

import httpx
import pytest
from ray.exceptions import RayActorError

from genrm_rl.rollout.errors import EngineProcessDied
from genrm_rl.serving.replicas.judge_apps import current_judge

PAIRS = [
    {"prompt": f"sort {word}", "response_a": "".join(sorted(word)), "response_b": f"the answer is {word}"}
    for word in ("gacb", "hdeb", "fcab", "dgeh", "badc", "ecah")
]


def judged(client: httpx.Client, **body: object) -> list[dict]:
    """Judgments of one call that has to succeed."""
    reply = client.post("/v1/judgments", json={"comparisons": PAIRS} | body)
    assert reply.status_code == 200, reply.text
    return reply.json()["judgments"]


def test_votes_stop_when_the_verdict_is_settled(client: httpx.Client) -> None:
    whole, early, certain = (judged(client, votes=4, **more) for more in ({}, {"stop_error": 0.4}, {"stop_error": 0}))
    for one, other, third in zip(whole, early, certain, strict=True):
        assert one["cost"]["votes_asked"] >= 8 and one["cost"]["votes_saved"] == 0, "more: an order asked again"
        assert other["cost"]["votes_asked"] + other["cost"]["votes_saved"] >= 8
        assert other["cost"]["votes_asked"] == other["votes"] + sum(other["non_verdicts"].values())
        assert third["verdict"] == one["verdict"], "what no further vote can change"
    saved = [sum(each["cost"]["votes_saved"] for each in replies) for replies in (whole, certain, early)]
    assert 0 == saved[0] <= saved[1] <= saved[2] and saved[2] > 0
    tokens = [sum(each["cost"]["generated_tokens"] for each in replies) for replies in (whole, early)]
    assert 0 < tokens[1] < tokens[0]


@pytest.mark.parametrize("error", [-0.1, 0.5, "x"])
def test_an_impossible_error_rate_is_refused(client: httpx.Client, error: object) -> None:
    reply = client.post("/v1/judgments", json={"comparisons": PAIRS[:1], "stop_error": error})
    assert reply.status_code == 422 and reply.json()["detail"].startswith("stop_error: ")


def test_votes_and_orders_of_a_comparison_share_the_prefix_cache(client: httpx.Client) -> None:
    before = client.get("/v1/stats").json()
    question = "sort " + "hgfedcba" * 10
    pair = {"prompt": question, "response_a": "a" * 20, "response_b": "b" * 20}
    cost = judged(client, comparisons=[pair], votes=4)[0]["cost"]
    # 8 prompts. The question alone fills two blocks of 32 tokens, which all but the first find computed already.
    assert cost["prompt_tokens"] > 8 * 100
    assert cost["cached_prompt_tokens"] >= 7 * 64
    after = client.get("/v1/stats").json()
    grown = {name: after["cost"][name] - before["cost"][name] for name in cost}
    assert grown == cost and after["judgments"] == before["judgments"] + 1
    rate = after["cost"]["cached_prompt_tokens"] / after["cost"]["prompt_tokens"]
    assert after["prefix_cache_hit_rate"] == pytest.approx(rate) and 0 < rate < 1


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/v1/judgments", "/v1/rewards", "/get_reward"])
def test_a_large_body_is_refused_unparsed(client: httpx.Client, path: str, chunked: bool) -> None:
    part = b"x" * 2**16  # no JSON: whoever parses it says something else
    content = (part for _ in range(64)) if chunked else part * 64
    reply = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert (reply.status_code, "0.25 MiB" in reply.json()["detail"]) == (413, True)
    assert client.get("/healthz").status_code == 200


@pytest.mark.drill
def test_a_restarted_judge_answers_from_the_cache_on_disk(client: httpx.Client) -> None:
    pairs = [each | {"prompt": f"{each['prompt']}f"} for each in PAIRS]
    first = judged(client, comparisons=pairs, greedy=True, rationales=True)
    whole = [not each["non_verdicts"] for each in first]
    assert not any(each["cached"] for each in first)
    replica = restart_judge()
    again = judged(client, comparisons=pairs, greedy=True, rationales=True)
    assert [each["cached"] for each in again] == whole, "verdicts are remembered, and nothing else"
    for old, new in zip(first, again, strict=True):
        assert old | {"cached": 0, "cost": 0} == new | {"cached": 0, "cost": 0}
        assert not new["cached"] or not any(new["cost"].values())
    sampled = judged(client, comparisons=pairs)
    assert not any(each["cached"] for each in sampled), "a sampled vote is not what a greedy one said"
    assert current_judge().report.remote().result(timeout_s=600).pid == replica


def test_a_judge_that_sleeps_refuses_until_it_is_woken_and_then_judges_the_same(client: httpx.Client) -> None:
    before = judged(client)
    assert client.post("/v1/judge/sleep", json={}).status_code == 200
    try:
        refused = client.post("/v1/judgments", json={"comparisons": PAIRS})
        assert refused.status_code == 503 and refused.headers["X-Judge-Absent"] == "1", "clients wait for it"
        assert "sleeps while a learner has its GPU" in refused.json()["detail"]
        assert client.get("/healthz").status_code == 200
        assert client.post("/v1/judge/sleep", json={}).status_code == 200, "whoever says it twice has said it once"
        assert client.post("/v1/judge", json={"checkpoint": "base"}).status_code == 409
    finally:
        assert client.post("/v1/judge/wake", json={}).status_code == 200
    assert [each["verdict"] for each in judged(client)] == [each["verdict"] for each in before]


def restart_judge() -> int:
    """Kill the judge's replica; returns the process id of its successor."""
    judges = current_judge()
    victim = judges.report.remote().result(timeout_s=600)
    os.kill(victim.pid, signal.SIGKILL)
    while True:
        try:
            found = judges.report.remote().result(timeout_s=600)
        except (RayActorError, EngineProcessDied):
            time.sleep(0.5)
            continue
        assert found.pid != victim.pid
        return found.pid
