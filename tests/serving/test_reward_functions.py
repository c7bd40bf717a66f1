"""Reward functions for TRL and verl, called as their trainers call them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from genrm_rl.errors import JudgeFailure
from genrm_rl.rewards.trainers import verl
from genrm_rl.rewards.trainers.service import MaskedReward
from genrm_rl.rewards.trainers.trl import GenRMReward

QUESTIONS = ["sort ihgb", "add 5 1 7"]
ANSWERS = [["bghi", "bgih", "the answer is bghi"], ["13", "12", "the answer is 13"]]


def native(client: httpx.Client, **ask: object) -> list[float | None]:
    groups = [{"prompt": q, "responses": a, "reference": a[0]} for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    reply = client.post("/v1/rewards", json={"groups": groups, **ask}).json()
    return [each["reward"] for group in reply["groups"] for each in group]


def as_trl_calls(reward: GenRMReward, *, conversational: bool, **columns: object) -> tuple[list, dict[str, float]]:
    """One process batch of GRPOTrainer._calculate_rewards (TRL 1.16): blocks of num_generations, columns repeated."""
    prompts = [question for question in QUESTIONS for _ in range(3)]
    completions = [answer for group in ANSWERS for answer in group]
    if conversational:
        prompts = [[{"role": "user", "content": prompt}] for prompt in prompts]
        completions = [[{"role": "assistant", "content": completion}] for completion in completions]
    metrics: dict[str, float] = {}
    found = reward(
        prompts=prompts,
        completions=completions,
        completion_ids=[[1, 2]] * len(prompts),
        trainer_state=None,
        log_extra=lambda column, values: None,
        log_metric=metrics.__setitem__,
        **columns,
    )
    return found, metrics


@pytest.mark.parametrize("conversational", [False, True])
def test_trl_gets_one_reward_per_completion(client: httpx.Client, conversational: bool) -> None:
    reward = GenRMReward(str(client.base_url), greedy=True)
    assert reward.__name__ == "genrm"
    rewards, metrics = as_trl_calls(reward, conversational=conversational, difficulty=[1] * 6)
    expected = native(client, greedy=True)
    assert rewards == pytest.approx(expected, abs=1e-3)
    assert metrics == {"genrm/masked_share": sum(each is None for each in expected) / 6}


def test_trl_may_compare_with_a_column_of_references(client: httpx.Client) -> None:
    reward = GenRMReward(str(client.base_url), rule="log_odds", greedy=True)
    references = [group[0] for group in ANSWERS for _ in range(3)]
    rewards, _ = as_trl_calls(reward, conversational=True, reference=references)
    assert rewards == pytest.approx(native(client, rule="log_odds", greedy=True), abs=1e-3)
    with pytest.raises(ValueError, match="needs the data set's column 'reference'"):
        as_trl_calls(reward, conversational=False)


def test_trl_gets_none_for_what_was_not_judged(client: httpx.Client) -> None:
    reward = GenRMReward(str(client.base_url))
    assert reward(prompts=["sort ba", "sort cab"], completions=["ab", "abc"]) == [None, None]


def test_a_service_that_refuses_or_is_not_there_stops_the_training(client: httpx.Client) -> None:
    with pytest.raises(JudgeFailure, match="answered 409: judge version other"):
        GenRMReward(str(client.base_url), judge_version="other")(prompts=["x", "x"], completions=["a", "b"])
    with pytest.raises(JudgeFailure, match="gave no reward in 0.2 s"):
        GenRMReward("http://127.0.0.1:1", deadline=0.2)(prompts=["x", "x"], completions=["a", "b"])


def test_verl_scores_single_samples_in_the_cohort_of_their_prompt(client: httpx.Client) -> None:
    async def everything() -> list[dict[str, float]]:
        return await asyncio.gather(
            *(
                verl.compute_score(
                    data_source="sorting",
                    solution_str=answer,
                    ground_truth="bghi",
                    extra_info={"index": 3, "prompt": prompt, "num_turns": 2, "rollout_reward_scores": {}},
                    url=str(client.base_url),
                )
                for answer in ANSWERS[0]
                for prompt in [[{"role": "user", "content": QUESTIONS[0]}]]
            )
        )

    expected = native(client)[:3]
    assert [score["score"] for score in asyncio.run(everything())] == pytest.approx(expected, abs=1e-3)


def test_verl_scores_a_batch(client: httpx.Client) -> None:
    scores = verl.compute_scores(
        data_sources=["world"] * 6,
        solution_strs=[answer for group in ANSWERS for answer in group],
        ground_truths=[None] * 6,
        extra_infos=[{"prompt": question, "rollout_reward_scores": {}} for question in QUESTIONS for _ in range(3)],
        url=str(client.base_url),
        greedy=True,
    )
    assert [score["score"] for score in scores] == pytest.approx(native(client, greedy=True), abs=1e-3)


def test_verl_is_told_of_a_masked_reward_by_an_error(client: httpx.Client) -> None:
    alone = {"extra_info": {"prompt": "sort da"}, "url": str(client.base_url)}
    with pytest.raises(MaskedReward, match="424: no reward: alone"):
        asyncio.run(verl.compute_score("sorting", "ad", None, **alone))
    with pytest.raises(MaskedReward, match="sample 0 of the batch has no reward: alone"):
        verl.compute_scores(["sorting"], ["ad"], [None], [{"prompt": "sort da"}], url=str(client.base_url))
    with pytest.raises(ValueError, match="extra_info has no 'prompt'"):
        asyncio.run(verl.compute_score("sorting", "ad", None, {"index": 1}, url=str(client.base_url)))


def test_trls_own_trainer_trains_on_the_served_judge(client: httpx.Client, tiny_model, tmp_path) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not in the lock; install it to run its trainer")
    from datasets import Dataset

    config = trl.GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=12,
        max_steps=2,
        report_to=[],
        use_cpu=True,
        bf16=False,
    )
    prompts = [[{"role": "user", "content": f"sort {word}"}] for word in ("cab", "dcb", "gfe", "hab")]
    trainer = trl.GRPOTrainer(
        model=str(tiny_model.path),
        reward_funcs=GenRMReward(str(client.base_url)),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "rewards/genrm/mean" in entry]
    assert logged and all("genrm/masked_share" in entry for entry in logged)
