"""Fifty malformed requests: each is refused with one sentence, and none reaches the engine."""

from __future__ import annotations

import json

import httpx
import pytest

from genrm_rl.serving.replicas.judge_apps import current_judge

PAIR = {"prompt": "sort ba", "response_a": "ab", "response_b": "ba"}
GROUP = {"prompt": "sort ba", "responses": ["ab", "ba"]}
SAMPLE = {"prompt": "sort ba", "response": "ab", "label": None}
QUERY = {"query": ["sort baab"], "prompts": ["sort ba"], "labels": [None]}
OUTPUT = {"output": [{"type": "message", "content": [{"type": "output_text", "text": "ab"}]}]}
COMPARE = {"conversation_history": [{"role": "user", "content": "sort ba"}], "response_objs": [OUTPUT, OUTPUT]}
VERIFY = {"responses_create_params": {"input": "sort ba"}, "response": OUTPUT, "_ng_rollout_index": 0}
CHAT = {"messages": [{"role": "user", "content": "sort ba"}]}
HALF = "\ud800"  # half of a surrogate pair: JSON can spell it, UTF-8 can't
LONG, MANY_TOKENS = "x" * 6000, "x " * 400
IMAGE = {"type": "input_image", "image_url": "http://x"}


def without(body: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in body.items() if key != name}


MALFORMED: list[tuple[str, object, str]] = [
    ("/v1/judgments", "{", "the body is not JSON"),
    ("/v1/judgments", "", "Field required"),
    ("/v1/judgments", b"\xff\xfe", "body"),
    ("/v1/judgments", [], "the body: "),
    ("/v1/judgments", {}, "comparisons: Field required"),
    ("/v1/judgments", {"comparisons": []}, "comparisons: List should have at least 1 item"),
    ("/v1/judgments", {"comparisons": PAIR}, "comparisons: Input should be a valid list"),
    ("/v1/judgments", {"comparisons": [without(PAIR, "response_b")]}, "comparisons.0.response_b: Field required"),
    ("/v1/judgments", {"comparisons": [PAIR | {"response_a": 3}]}, "comparisons.0.response_a: "),
    ("/v1/judgments", {"comparisons": [PAIR | {"winner": "a"}]}, "comparisons.0.winner: Extra inputs"),
    ("/v1/judgments", {"comparisons": [PAIR], HALF: 1}, "the body: "),
    ("/v1/judgments", {"comparisons": [PAIR | {"response_a": HALF}]}, "half a surrogate pair"),
    ("/v1/judgments", {"comparisons": [PAIR | {"prompt": []}]}, "comparison 0: "),
    (
        "/v1/judgments",
        {"comparisons": [PAIR | {"prompt": [{"role": "tool", "content": "x"}]}]},
        "0.prompt.0.role: ",
    ),
    ("/v1/judgments", {"comparisons": [PAIR], "votes": 0}, "votes: "),
    ("/v1/judgments", {"comparisons": [PAIR], "votes": "many"}, "votes: "),
    ("/v1/judgments", {"comparisons": [PAIR], "deadline_seconds": -1}, "deadline_seconds: "),
    ("/v1/judgments", '{"comparisons": [' + json.dumps(PAIR) + '], "deadline_seconds": NaN}', "deadline_seconds: "),
    ("/v1/judgments", {"comparisons": [PAIR | {"response_b": LONG}]}, "limit 5000"),
    ("/v1/judgments", {"comparisons": [PAIR, PAIR | {"response_b": MANY_TOKENS}]}, "comparison 1: it needs"),
    ("/v1/rewards", {"groups": []}, "groups: "),
    ("/v1/rewards", {"groups": [GROUP | {"responses": []}]}, "groups.0.responses: "),
    ("/v1/rewards", {"groups": [GROUP | {"responses": "ab"}]}, "groups.0.responses: "),
    ("/v1/rewards", {"groups": [GROUP], "rule": "elo"}, "rule: "),
    ("/v1/rewards", {"groups": [GROUP], "rule": "reference"}, "groups.0.reference: rule reference compares"),
    ("/v1/rewards", {"groups": [GROUP | {"responses": [str(n) for n in range(9)]}]}, "needs 36 comparisons"),
    ("/v1/rewards", {"groups": [GROUP, GROUP | {"responses": ["a", MANY_TOKENS]}]}, "comparison 1: it needs"),
    ("/v1/rewards", {"groups": [GROUP], "judge_version": "v9"}, "v9 was asked for and base is served"),
    ("/get_reward", without(QUERY, "prompts"), "prompts: Field required"),
    ("/get_reward", QUERY | {"query": "sort baab"}, "query: Input should be a valid list"),
    ("/get_reward", QUERY | {"query": ["a", "b"]}, "query: List should have at most 1 item"),
    ("/get_reward", QUERY | {"query": ["add 1"]}, "query does not begin with its prompt"),
    ("/get_reward", QUERY | {"query": ["sort ba" + MANY_TOKENS]}, "it needs"),
    ("/remote_rm", without(SAMPLE, "response"), "response: Field required"),
    ("/remote_rm", [SAMPLE], "the body: "),
    ("/remote_rm", SAMPLE | {"prompt": [{"role": "user"}]}, "prompt.0.content: Field required"),
    ("/remote_rm", SAMPLE | {"response": HALF}, "half a surrogate pair"),
    ("/compare", without(COMPARE, "response_objs"), "response_objs: Field required"),
    ("/compare", COMPARE | {"conversation_history": []}, "conversation_history: List should have at least 1 item"),
    ("/compare", COMPARE | {"response_objs": [OUTPUT, {"text": "ab"}]}, "response_objs.1.output: a list"),
    (
        "/compare",
        COMPARE | {"conversation_history": [{"role": "judge", "content": "x"}]},
        "conversation_history.0.role",
    ),
    ("/compare", COMPARE | {"response_objs": [OUTPUT, {"output": [{"content": [IMAGE]}]}]}, "reads text parts only"),
    ("/verify", without(VERIFY, "_ng_rollout_index"), "_ng_rollout_index: Field required"),
    ("/verify", VERIFY | {"_ng_rollout_index": 3}, "_ng_rollout_index: it must be below serving.cohort_size 3"),
    ("/verify", VERIFY | {"_ng_rollout_index": "0"}, "_ng_rollout_index: "),
    ("/verify", VERIFY | {"responses_create_params": {}}, "responses_create_params.input: "),
    ("/verify", VERIFY | {"response": {"output": [], "id": HALF}}, "half a surrogate pair"),
    ("/v1/judge", {}, "checkpoint: Field required"),
    ("/v1/judge", {"checkpoint": "runs/last"}, "checkpoint: runs/last is no absolute path"),
    ("/v1/judge", {"checkpoint": "/nowhere"}, "checkpoint: /nowhere is no judge"),
    ("/v1/chat/completions", {"messages": []}, "messages: "),
    ("/v1/chat/completions", CHAT | {"stream": True}, "does not stream"),
    ("/v1/chat/completions", CHAT | {"model": "gpt-4"}, "gpt-4 is not served"),
    ("/v1/chat/completions", CHAT | {"tools": [{"type": "function"}]}, "`tools` is not supported"),
    ("/v1/chat/completions", CHAT | {"n": 5}, "n: at most 4"),
    ("/v1/chat/completions", CHAT | {"max_tokens": 5000}, "do not fit 320"),
    ("/v1/chat/completions", CHAT | {"temperature": -1}, "temperature: "),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [IMAGE]}]}, "messages.0.content"),
]


def requests_so_far() -> int:
    return current_judge().requests.remote().result(timeout_s=600)


def test_there_are_fifty() -> None:
    assert len(MALFORMED) >= 50 and len({json.dumps([path, repr(body)]) for path, body, _ in MALFORMED}) == len(
        MALFORMED
    )


@pytest.mark.parametrize(
    ("path", "body", "says"), MALFORMED, ids=[f"{n}{path}" for n, (path, *_) in enumerate(MALFORMED)]
)
def test_a_malformed_request_is_refused_in_one_sentence(
    client: httpx.Client, path: str, body: object, says: str
) -> None:
    before = requests_so_far()
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    reply = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert 400 <= reply.status_code < 500, reply.text
    detail = reply.json()["detail"]
    assert isinstance(detail, str) and says in detail and "\n" not in detail and len(detail) < 300
    assert requests_so_far() == before
