"""What an alignment starts: the learners, the policy's engines, and the source of its rewards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.alignment.rewarding import Rewarder, ServiceRewarder, VerifierRewarder
from genrm_rl.alignment.turns import Turns
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.serving import ServeConfig
from genrm_rl.learners.group import learner_groups
from genrm_rl.rewards.client import RewardClient
from genrm_rl.rewards.rules import comparisons
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.runtime.console import say_on
from genrm_rl.runtime.machine_checks import free_port
from placement.roles import learner_models


def policy_engines(
    config: AlignConfig | AgentConfig, model_path: Path, console: Console
) -> AbstractContextManager[EnginePool]:
    """The engines of the policy, in the connected Ray. They start before the judge, which is waited for: both start at
    the same time."""
    from genrm_rl.rollout.shared_pool import engine_pool

    return engine_pool(
        model_path,
        config.rollout,
        config.model,
        console=console,
        logprobs_of="sampling",
        lora_rank=config.learner.lora_rank,
        role="policy",
    )


def turns_of(config: AlignConfig, pool: EnginePool, models: Mapping[str, Any], judge: RewardClient | None) -> Turns:
    """The turns of the policy's engines, its learners, and a judge that the run serves itself."""
    if config.placement != "shared":
        return Turns(pool)
    return Turns(pool, tuple(models.values()), judge if config.serves_judge else None)


@contextmanager
def rewarder_of(config: AlignConfig, console: Console) -> Iterator[Rewarder]:
    """The reward source of a run; serves the judge in this job unless ``reward.url`` names a running service."""
    if config.reward.source == "verifier":
        yield VerifierRewarder()
        return
    with ExitStack() as stack:
        url = config.reward.url or stack.enter_context(own_service(config, console))
        yield ServiceRewarder(stack.enter_context(reward_client(config, url, console)))


def reward_client(config: AlignConfig, url: str, console: Console) -> RewardClient:
    """The client of the service at ``url``. A judge of this job is given enough for all of its replicas."""
    token = os.environ.get(config.serving.token_variable, "")
    reward = config.reward.model_copy(update={"max_in_flight": groups_in_flight(config)})
    return RewardClient(url, reward, token=token, say=say_on(console), seed=config.run.seed)


def groups_in_flight(config: AlignConfig) -> int:
    """Groups at the judge at once."""
    return config.reward.max_in_flight * (config.serving.max_replicas if config.serves_judge else 1)


def second_judge(config: AlignConfig, console: Console) -> RewardClient:
    """The client of ``evaluation.second_judge_url``; the token is the rewarding judge's and stays with it."""
    url = str(config.evaluation.second_judge_url)
    setting = "evaluation.second_judge_url"
    return RewardClient(url, config.reward, say=say_on(console), seed=config.run.seed, setting=setting)


def serve_config(config: AlignConfig) -> ServeConfig:
    """How an alignment serves the judge of its own, on a free loopback port, with room for all that it asks at once."""
    samples = config.ppo.samples_per_prompt if config.method == "ppo" else config.dpo.samples_per_prompt
    pending = groups_in_flight(config) * comparisons(config.reward.rule, samples)
    serving = config.serving.model_copy(
        update={
            "host": "127.0.0.1",
            "port": free_port(),
            "max_pending": max(config.serving.max_pending, pending),
        }
    )
    return ServeConfig(
        model=config.judge_model,
        judge=config.judge,
        rollout=config.judge_rollout,
        serving=serving,
        seed=config.run.seed,
    )


@contextmanager
def own_service(config: AlignConfig, console: Console) -> Iterator[str]:
    """The judge of ``serving.checkpoint``, served on a free loopback port as long as the run lives."""
    from genrm_rl.serving.app import running_service
    from genrm_rl.serving.replicas.judge_apps import judge_to_serve

    settings = serve_config(config)
    judge = judge_to_serve(settings)
    console.print(f"starting the judge {judge.name} ({judge.version})", highlight=False)
    with running_service(settings, judge) as address:
        yield address


@contextmanager
def learners_of(config: AlignConfig, model_path: Path, console: Console) -> Iterator[dict[str, Any]]:
    """Policy, frozen reference, and critic (with GAE), by role; all start loading at once. With `placement: shared`
    they leave the GPUs as soon as they have loaded: engines start there next."""
    from genrm_rl.rollout.shared_pool import end_kept_engines

    models = learner_models(config) | {"reference": False}
    if config.placement == "shared":
        end_kept_engines()
    with learner_groups(models, model_path, config.learner, seed=config.run.seed, say=say_on(console)) as groups:
        if config.placement == "shared":
            for group in groups.values():
                group.offload()
        yield {role: groups[role] for role in ("policy", "reference", "critic") if role in groups}
