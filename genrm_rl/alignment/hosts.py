"""What both alignment loops work with: engines of the policy, its learners, the judge, the questions, the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from genrm_rl.alignment.lost import LossWatch
from genrm_rl.alignment.prompts import PromptSets
from genrm_rl.alignment.rewarding import Rewarder, ServiceRewarder, VerifierRewarder
from genrm_rl.alignment.turns import Turns
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.serving import ServeConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.learners.group import Frozen, LearnerGroup, learner_groups
from genrm_rl.learners.run_state import Checkpoints
from genrm_rl.rewards.client import RewardClient
from genrm_rl.rewards.rules import comparisons
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.tracking import MetricSink, open_sinks
from placement.roles import learner_models


@dataclass
class Hosts:
    """Everything that is alive during a run; ``critic`` is None without GAE."""

    config: AlignConfig
    run: RunDirectory
    console: Console
    sink: MetricSink
    chat: ChatEncoder
    prompts: PromptSets
    model_path: Path
    pool: EnginePool
    policy: LearnerGroup
    reference: Frozen
    critic: LearnerGroup | None
    rewarder: Rewarder

    def __post_init__(self) -> None:
        self.losses = LossWatch(self.config.reward)
        shared = self.config.placement == "shared"
        learners = [group for group in (self.policy, self.reference, self.critic) if group is not None]
        own_judge = self.client if self.config.serves_judge else None
        self.turns = Turns(self.pool, learners, own_judge) if shared else Turns(self.pool)
        critic = {"critic": self.critic} if self.critic is not None else {}
        self.checkpoints = Checkpoints(self.run, "checkpoints", {"policy": self.policy, **critic}, self.config.learner)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.run.seed

    @property
    def client(self) -> RewardClient | None:
        """The connection to the judge, if a judge gives the reward."""
        return self.rewarder.client if isinstance(self.rewarder, ServiceRewarder) else None

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        self.console.print(text, highlight=False)

    def publish(self, version: str) -> float:
        """The policy's weights to its engines, proved by the parity probe. Returns seconds."""
        from genrm_rl.rollout.publication import keep_receipt

        self.turns.learn()
        reference = self.policy.probe_reference()
        self.turns.hand_over()
        receipt = self.pool.publish(version, self.policy, reference)
        self.turns.generate()
        keep_receipt(self.run.path, receipt)
        return receipt.seconds


@contextmanager
def opened_hosts(
    config: AlignConfig, run: RunDirectory, console: Console, chat: ChatEncoder, prompts: PromptSets, model_path: Path
) -> Iterator[Hosts]:
    """Everything alive, in the connected Ray. Engines start before the judge, which is waited for: both start at the
    same time."""
    from genrm_rl.rollout.shared_pool import engine_pool

    rank = config.learner.lora_rank
    with (
        open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
        learners_of(config, model_path, console) as learners,
        engine_pool(
            model_path,
            config.rollout,
            config.model,
            console=console,
            logprobs_of="sampling",
            lora_rank=rank,
            role="policy",
        ) as pool,
        rewarder_of(config, console) as rewarder,
    ):
        yield Hosts(config, run, console, sink, chat, prompts, model_path, pool, *learners, rewarder)


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
    return RewardClient(url, reward, token=token, say=_say(console), seed=config.run.seed)


def groups_in_flight(config: AlignConfig) -> int:
    """Groups at the judge at once."""
    return config.reward.max_in_flight * (config.serving.max_replicas if config.serves_judge else 1)


def second_judge(config: AlignConfig, console: Console) -> RewardClient:
    """The client of ``evaluation.second_judge_url``; the token is the rewarding judge's and stays with it."""
    url = str(config.evaluation.second_judge_url)
    setting = "evaluation.second_judge_url"
    return RewardClient(url, config.reward, say=_say(console), seed=config.run.seed, setting=setting)


def _say(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False)


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
def learners_of(
    config: AlignConfig, model_path: Path, console: Console
) -> Iterator[tuple[LearnerGroup, Frozen, LearnerGroup | None]]:
    """Policy, frozen reference, and critic (with GAE); all start loading at once. With `placement: shared` they leave
    the GPUs as soon as they have loaded: engines start there next."""
    from genrm_rl.rollout.shared_pool import end_kept_engines

    say = _say(console)
    models = learner_models(config) | {"reference": False}
    if config.placement == "shared":
        end_kept_engines()
    with learner_groups(models, model_path, config.learner, seed=config.run.seed, say=say) as groups:
        if config.placement == "shared":
            for group in groups.values():
                group.offload()
        yield groups["policy"], groups["reference"], groups.get("critic")
