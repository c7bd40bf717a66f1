"""Routes of other trainers' contracts: none is open to a caller without the token."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from starlette.requests import Request

from genrm_rl.serving import gym_contract, openai_contract, openrlhf_contract, operations, slime_contract
from genrm_rl.serving.contracts import Ask, ComparisonIn, compare
from genrm_rl.serving.desk import open_desk
from genrm_rl.serving.ingress import RewardService

CONTRACTS = (openrlhf_contract, slime_contract, gym_contract, openai_contract, operations)
ROUTES = [route for contract in CONTRACTS for route in contract.routes.routes]


@pytest.mark.parametrize("route", ROUTES, ids=[route.path for route in ROUTES])
def test_every_route_asks_for_the_token(route) -> None:
    assert open_desk in [dependency.call for dependency in route.dependant.dependencies]


@pytest.mark.parametrize(("header", "allowed"), [("Bearer secret", True), ("Bearer other", False), ("", False)])
def test_the_token_is_compared(header: str, allowed: bool) -> None:
    ingress = SimpleNamespace(_token="secret", settings=SimpleNamespace(max_votes=1))
    request = Request({"type": "http", "headers": [(b"authorization", header.encode())]})
    if allowed:
        RewardService._check(ingress, Ask(), request)
        return
    with pytest.raises(HTTPException) as refused:
        RewardService._check(ingress, Ask(), request)
    assert refused.value.status_code == 401


def test_prompts_take_text_parts_and_developer_turns_and_refuse_the_rest_by_name() -> None:
    def asked(turn: dict) -> ComparisonIn:
        return ComparisonIn.model_validate({"prompt": [turn], "response_a": "a", "response_b": "b"})

    parts = [{"type": "text", "text": "add 1 "}, {"type": "input_text", "text": "2"}]
    (turn,) = asked({"role": "user", "content": parts}).prompt
    assert turn.content == "add 1 2"
    plain = compare([turn], "a", "b")
    assert plain == compare(asked({"role": "user", "content": "add 1 2"}).prompt, "a", "b"), "the same comparison"
    assert asked({"role": "developer", "content": "be kind"}).prompt[0].role == "system"
    for wrong, reason in (
        ({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, "part 0 is image_url"),
        ({"role": "user", "content": None}, "valid string"),
        ({"role": "tool", "content": "3"}, "'system', 'user' or 'assistant'"),
        ({"role": "assistant", "content": "", "tool_calls": [{}]}, "tool_calls"),
        ({"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}, "half a surrogate pair"),
    ):
        with pytest.raises(ValueError, match=reason):
            asked(wrong)
