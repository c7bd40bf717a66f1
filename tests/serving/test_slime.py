"""slime's remote_rm against the service: what its client posts, and what it takes as the reward."""

from __future__ import annotations

import asyncio

import aiohttp
import httpx
import pytest

from genrm_rl.models import load_tokenizer

QUESTION = "sort gfacb"
ANSWERS = ("abcfg", "abcgf", "the answer is abcfg")


async def remote_rm(url: str, sample: dict[str, object]) -> object:
    """One try of the stock client (THUDM/slime 0b420f1, slime/rollout/rm_hub/__init__.py): the reply is the reward."""
    async with aiohttp.ClientSession() as session, session.post(url, json=sample) as reply:
        reply.raise_for_status()
        return await reply.json()


def fetch(client: httpx.Client, prompt: object, answers: tuple[str, ...], label: object = None) -> list[object]:
    """Each sample in a call of its own, all at once."""

    async def everything() -> list[object]:
        samples = [{"prompt": prompt, "response": answer, "label": label} for answer in answers]
        return await asyncio.gather(*(remote_rm(f"{client.base_url}/remote_rm", sample) for sample in samples))

    return asyncio.run(everything())


def test_the_reply_is_the_reward_of_a_sample_among_its_cohort(client: httpx.Client, tiny_model) -> None:
    tokenizer = load_tokenizer(tiny_model.path)
    turns = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    rewards = fetch(client, prompt, tuple(answer + tokenizer.eos_token for answer in ANSWERS), label="abcfg")
    assert all(type(reward) is float for reward in rewards)
    native = client.post("/v1/rewards", json={"groups": [{"prompt": QUESTION, "responses": list(ANSWERS)}]}).json()
    assert rewards == pytest.approx([each["reward"] for each in native["groups"][0]], abs=1e-3)


def test_a_prompt_may_be_turns_and_a_label_anything(client: httpx.Client) -> None:
    rewards = fetch(client, [{"role": "user", "content": "sort gfa"}], ("afg", "agf", "gfa"), label={"answer": 3})
    assert len(rewards) == 3 and all(type(reward) is float for reward in rewards)


def test_a_sample_alone_is_an_error_and_no_number(client: httpx.Client) -> None:
    reply = client.post("/remote_rm", json={"prompt": "sort fa", "response": "af", "label": None})
    assert (reply.status_code, reply.json()["detail"]) == (424, "no reward: alone")


def test_an_answer_too_long_for_the_judge_leaves_its_cohort_alone(client: httpx.Client) -> None:
    long = client.post("/remote_rm", json={"prompt": "sort gfd", "response": "x " * 150, "label": None})
    assert long.status_code == 422 and "the context has 320" in long.json()["detail"]
    assert len(fetch(client, "sort gfd", ("dfg", "dgf", "gfd"))) == 3
