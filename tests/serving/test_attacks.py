"""The corpus of attacks against the running service: data, never structure, and never an error of ours."""

from __future__ import annotations

import httpx
import pytest

from genrm_rl.judging.templates import GRAMMARS
from genrm_rl.judging.types import Verdict
from genrm_rl.judging.verdicts import parse_verdict
from tests.attacks import ATTACKS, Attack

FITTING = [attack for attack in ATTACKS if attack.kind != "huge"]
KINDS = sorted({attack.kind for attack in FITTING})
HONEST = "abc"


def ask(client: httpx.Client, pairs: list[dict[str, str]]) -> list[dict]:
    """Judgments of ``pairs`` with their rationales, in calls as large as the service takes."""
    found: list[dict] = []
    for start in range(0, len(pairs), 16):
        body = {"comparisons": pairs[start : start + 16], "rationales": True}
        reply = client.post("/v1/judgments", json=body)
        assert reply.status_code == 200, reply.text
        found += reply.json()["judgments"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_attack_gets_a_verdict_of_the_judge_or_none(client: httpx.Client, kind: str) -> None:
    texts = [attack.text for attack in FITTING if attack.kind == kind]
    pairs = [{"prompt": "sort cba", "response_a": text, "response_b": HONEST} for text in texts]
    pairs += [{"prompt": text, "response_a": HONEST, "response_b": "cba"} for text in texts]
    for judgment in ask(client, pairs):
        assert judgment["verdict"] in set(Verdict)
        for rationale in judgment["rationales"]:
            check_origin(rationale)


def check_origin(rationale: dict) -> None:
    """The verdict follows from the judge's own text alone."""
    verdict = Verdict(rationale["verdict"])
    own = verdict.swap() if rationale["order"] == "ba" else verdict
    readings = {parse_verdict(rationale["text"], reason, GRAMMARS["compact"]).verdict for reason in ("stop", "length")}
    assert own in readings or own in (Verdict.UNPARSEABLE, Verdict.JUDGE_FAILED)
    assert (rationale["p_a"] is None) == (not verdict.is_verdict)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.kind == "huge"], ids=str)
def test_what_is_huge_is_refused_whole(client: httpx.Client, attack: Attack) -> None:
    pair = {"prompt": "sort cba", "response_a": attack.text, "response_b": HONEST}
    reply = client.post("/v1/judgments", json={"comparisons": [pair]})
    assert reply.status_code in (413, 422) and reply.json()["detail"].startswith("comparison 0")


def test_an_attack_in_a_group_earns_a_reward_or_a_mask(client: httpx.Client) -> None:
    texts = [attack.text for attack in FITTING if attack.kind in ("verdict", "control")][::6]
    reply = client.post("/v1/rewards", json={"groups": [{"prompt": "sort cba", "responses": texts[:5]}]})
    assert reply.status_code == 200, reply.text
    for earned in reply.json()["groups"][0]:
        assert (earned["reward"] is None) != (earned["mask"] is None)
