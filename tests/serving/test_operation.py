"""What an operator and a bill see: votes and tokens saved, caches, limits."""

from __future__ import annotations

import httpx
import pytest

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
        assert one["cost"]["votes_asked"] == 8 and one["cost"]["votes_saved"] == 0
        assert other["cost"]["votes_asked"] + other["cost"]["votes_saved"] == 8
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
