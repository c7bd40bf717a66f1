"""Routes of other trainers' contracts: none is open to a caller without the token."""

from __future__ import annotations

import pytest

from genrm_rl.config.serving import ServingConfig
from genrm_rl.serving.contracts import ComparisonIn, compare
from genrm_rl.serving.desk.door import Doorkeeper
from genrm_rl.serving.operations import routes as operations
from genrm_rl.serving.trainers import (
    best_of_contract,
    gym_contract,
    openai_contract,
    openrlhf_contract,
    slime_contract,
)

CONTRACTS = (best_of_contract, openrlhf_contract, slime_contract, gym_contract, openai_contract, operations)
ROUTES = [route for contract in CONTRACTS for route in contract.routes.routes]


@pytest.mark.parametrize("path", [route.path for route in ROUTES])
def test_every_route_asks_for_the_token(path: str) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"host", b"localhost")],
        "client": ("10.0.0.1", 1),
    }
    refused = Doorkeeper(ServingConfig(), "secret").refused(scope)
    assert refused is not None and refused.status_code == 401


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
