"""Routes of other trainers' contracts: none is open to a caller without the token."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import HTTPException
from starlette.requests import Request

from genrm_rl.serving import gym_contract, openai_contract, openrlhf_contract, operations, slime_contract
from genrm_rl.serving.contracts import Ask
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
