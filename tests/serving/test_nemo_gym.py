"""Requests of NVIDIA NeMo Gym against the service, recorded from its clients (NVIDIA-NeMo/Gym, main of 2026):
``GenRMStrategy.compare`` of resources_servers/genrm_compare, ``/seed_session`` and ``/verify`` of the simple agent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

ANSWERS = ["bcdeh", "bcdhe", "the answer is bcdeh"]


def responses_object(text: str, *, reasoning: str = "") -> dict[str, Any]:
    """A Responses object as Gym's model servers return it."""
    message = {
        "id": "msg_1",
        "content": [{"annotations": [], "text": text, "type": "output_text", "logprobs": None}],
        "role": "assistant",
        "status": "completed",
        "type": "message",
    }
    thought = {"id": "rs_1", "summary": [{"text": reasoning, "type": "summary_text"}], "type": "reasoning"}
    return {
        "id": "resp_1",
        "created_at": 1700000000.0,
        "error": None,
        "incomplete_details": None,
        "metadata": None,
        "model": "policy",
        "object": "response",
        "output": [thought, message] if reasoning else [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


def verify_request(text: str, index: int, *, question: str, **coordinates: object) -> dict[str, Any]:
    """What the simple agent posts to ``/verify`` for one rollout."""
    return {
        "responses_create_params": {
            "input": [{"role": "user", "content": question, "type": "message"}],
            "metadata": None,
            "temperature": 1.0,
            "tools": [],
        },
        "response": responses_object(text),
        "agent_ref": {"type": "responses_api_agents", "name": "genrm_simple_agent"},
        "_ng_task_index": 7,
        "_ng_rollout_index": index,
        **coordinates,
    }


def verify(client: httpx.Client, requests: list[dict[str, Any]]) -> list[httpx.Response]:
    """All at once, as rollouts are collected."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda body: client.post("/verify", json=body), requests))


def test_compare_gives_one_reward_per_answer_on_gyms_scale(client: httpx.Client) -> None:
    question = "sort hecdb"
    body = {
        "conversation_history": [{"role": "user", "content": question}],
        "response_objs": [responses_object(text, reasoning="let me see") for text in ANSWERS],
        "principle": "Prefer the short answer.",
    }
    reply = client.post("/compare", json=body)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    group = {"prompt": question, "responses": ANSWERS, "rubric": body["principle"]}
    native = client.post("/v1/rewards", json={"groups": [group]}).json()
    expected = [1 + 4 * each["reward"] for each in native["groups"][0]]
    assert found["rewards"] == pytest.approx(expected, abs=1e-3)
    assert [(each["response_i"], each["response_j"]) for each in found["comparison_results"]] == [
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    for each in found["comparison_results"]:
        assert each["judge_idx"] == 0 and each["score_1"] + each["score_2"] == pytest.approx(6)
        assert (each["ranking"] < 3.5) == (each["score_1"] > each["score_2"])
    assert set(found["metrics"]) == {"mean_individual_score", "std_individual_score", "tiebreak_usage_rate"}
    first = [each["score_1"] for each in found["comparison_results"] if each["response_i"] == 0]
    assert sum(first) / 2 == pytest.approx(found["rewards"][0]), "orientation of scores and rewards agree"


def test_compare_without_answers_is_empty_and_with_one_has_no_reward(client: httpx.Client) -> None:
    history = [{"role": "user", "content": "sort hec"}]
    empty = client.post("/compare", json={"conversation_history": history, "response_objs": []})
    assert empty.json() == {"rewards": [], "comparison_results": None, "metrics": None}
    one = client.post("/compare", json={"conversation_history": history, "response_objs": [responses_object("ceh")]})
    assert (one.status_code, one.json()["detail"]) == (424, "no reward: response 0 is alone")


def test_agents_open_a_session_and_verify_each_rollout_of_a_group(client: httpx.Client) -> None:
    question = "sort hdcb"
    assert client.post("/seed_session", json={"responses_create_params": {"input": question}}).json() == {}
    coordinates = {"_ng_group_id": "run-1/7", "_ng_group_attempt": 2}
    requests = [verify_request(text, index, question=question, **coordinates) for index, text in enumerate(ANSWERS)]
    replies = verify(client, requests)
    assert [reply.status_code for reply in replies] == [200] * 3, [reply.text for reply in replies]
    found = [reply.json() for reply in replies]
    native = client.post("/v1/rewards", json={"groups": [{"prompt": question, "responses": ANSWERS}]}).json()
    expected = [1 + 4 * each["reward"] for each in native["groups"][0]]
    assert [each["reward"] for each in found] == pytest.approx(expected, abs=1e-3)
    for request, each in zip(requests, found, strict=True):
        for name in ("responses_create_params", "response", "_ng_group_id", "_ng_group_attempt", "_ng_rollout_index"):
            assert each[name] == request[name]
        assert each["mask_sample"] is False and each["judge_version"] == "base" and len(each["judgments"]) == 2
    again = client.post("/verify", json=requests[1])
    assert again.json() == found[1], "an identical retry gets the same reward"
    other = client.post("/verify", json=requests[1] | {"response": responses_object("b")})
    assert other.status_code == 409 and "different response for rollout 1" in other.json()["detail"]
    old = client.post("/verify", json=requests[1] | {"_ng_group_attempt": 1})
    assert old.status_code == 409 and "attempt 1 of group run-1/7 was replaced by 2" in old.json()["detail"]


def test_a_rollout_that_never_comes_does_not_hold_up_its_group(client: httpx.Client) -> None:
    requests = [verify_request(ANSWERS[index], index, question="sort hdce", _ng_group_id="run-1/8") for index in (0, 2)]
    replies = verify(client, requests)
    assert [reply.status_code for reply in replies] == [200] * 2
    assert sum(reply.json()["reward"] for reply in replies) == pytest.approx(6)
    late = client.post("/verify", json=verify_request("x", 1, question="sort hdce", _ng_group_id="run-1/8"))
    assert late.status_code == 409 and "came too late" in late.json()["detail"]


def test_a_rollout_alone_is_an_error_and_neither_0_nor_3(client: httpx.Client) -> None:
    reply = client.post("/verify", json=verify_request("b", 0, question="sort hd", _ng_group_id="run-1/9"))
    assert (reply.status_code, reply.json()["detail"]) == (424, "no reward: alone")


def test_groups_without_an_id_are_known_by_task_and_prompt(client: httpx.Client) -> None:
    for _ in range(2):
        requests = [verify_request(text, index, question="sort hdf") for index, text in enumerate(ANSWERS)]
        assert [reply.status_code for reply in verify(client, requests)] == [200] * 3
