"""OpenRLHF's own client against the service, and the template that it sends along."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from genrm_rl.errors import DataError
from genrm_rl.models import load_tokenizer
from genrm_rl.serving.trainers.policy_format import PolicyFormat

QUESTION = "sort hfacd"
ANSWERS = ("acdfh", "acdfg", "the answer is acdfh")


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model.path)


def prompt_of(tokenizer, question: str = QUESTION) -> str:
    turns = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def fetch(client: httpx.Client, prompt: str, answers: tuple[str, ...], ending: str) -> list:
    """Each sample in a call of its own, as OpenRLHF's rollout actors do, all at once."""
    from openrlhf.utils.agent import SingleTurnAgentExecutor

    executor = SingleTurnAgentExecutor(f"{client.base_url}/get_reward")

    async def everything() -> list:
        return await asyncio.gather(
            *(executor._fetch_rewards_via_http([prompt + each + ending], [prompt], [None]) for each in answers)
        )

    return [replies[0] for replies in asyncio.run(everything())]


def test_samples_of_one_prompt_are_judged_against_each_other(client: httpx.Client, tokenizer) -> None:
    replies = fetch(client, prompt_of(tokenizer), ANSWERS, tokenizer.eos_token)
    assert [set(reply) for reply in replies] == [{"rewards", "scores", "extra_logs"}] * 3
    assert all(isinstance(reply["rewards"], float) and 0 <= reply["scores"] <= 1 for reply in replies)
    assert [reply["extra_logs"]["judgments"] for reply in replies] == [2.0] * 3
    group = {"prompt": QUESTION, "responses": list(ANSWERS)}
    native = client.post("/v1/rewards", json={"groups": [group]}).json()["groups"][0]
    assert [reply["rewards"] for reply in replies] == pytest.approx([each["reward"] for each in native], abs=1e-3)


def test_a_cohort_that_stays_small_is_judged_when_the_wait_is_over(client: httpx.Client, tokenizer) -> None:
    replies = fetch(client, prompt_of(tokenizer, "sort bca"), ("abc", "acb"), tokenizer.eos_token)
    assert [reply["extra_logs"]["judgments"] for reply in replies] == [1.0] * 2
    assert sum(reply["rewards"] for reply in replies) == pytest.approx(1)


def test_an_answer_alone_has_no_reward_and_no_number(client: httpx.Client, tokenizer) -> None:
    prompt = prompt_of(tokenizer, "sort ba")
    reply = client.post("/get_reward", json={"query": [f"{prompt}ab"], "prompts": [prompt], "labels": [None]})
    assert (reply.status_code, reply.json()["detail"]) == (424, "no reward: alone")


def test_a_query_of_another_prompt_is_refused(client: httpx.Client, tokenizer) -> None:
    reply = client.post("/get_reward", json={"query": ["x"], "prompts": ["y"], "labels": [None]})
    assert reply.status_code == 422 and "does not begin with its prompt" in reply.json()["detail"]


def test_the_template_of_the_policy_is_taken_off(tokenizer) -> None:
    prompt = prompt_of(tokenizer)
    form = PolicyFormat(tokenizer)
    assert form.split(f"{prompt}acdfh{tokenizer.eos_token}", prompt) == (QUESTION, "acdfh")
    assert form.split("plain question plain answer", "plain question") == ("plain question", " plain answer")
    assert PolicyFormat(None).split(f"{prompt}x", prompt) == (prompt, "x")
    with pytest.raises(DataError, match="does not begin"):
        form.split("x", prompt)
