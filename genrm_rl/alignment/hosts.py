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
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.serving import ServeConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.learners.group import Frozen, LearnerGroup, learner_groups
from genrm_rl.rewards.client import RewardClient
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.tracking import MetricSink
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

        receipt = self.pool.publish(version, self.policy, self.policy.probe_reference())
        keep_receipt(self.run.path, receipt)
        return receipt.seconds


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
    """The client of the service at ``url``."""
    token = os.environ.get(config.serving.token_variable, "")
    return RewardClient(url, config.reward, token=token, say=_say(console), seed=config.run.seed)


def second_judge(config: AlignConfig, console: Console) -> RewardClient:
    """The client of ``evaluation.second_judge_url``; the token is the rewarding judge's and stays with it."""
    url = str(config.evaluation.second_judge_url)
    setting = "evaluation.second_judge_url"
    return RewardClient(url, config.reward, say=_say(console), seed=config.run.seed, setting=setting)


def _say(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False)


def serve_config(config: AlignConfig) -> ServeConfig:
    """How an alignment serves the judge of its own, on a free loopback port."""
    serving = config.serving.model_copy(update={"host": "127.0.0.1", "port": free_port()})
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
    from genrm_rl.serving.judge_apps import judge_to_serve

    settings = serve_config(config)
    judge = judge_to_serve(settings)
    console.print(f"starting the judge {judge.name} ({judge.version})", highlight=False)
    with running_service(settings, judge) as address:
        yield address


@contextmanager
def learners_of(
    config: AlignConfig, model_path: Path, console: Console
) -> Iterator[tuple[LearnerGroup, Frozen, LearnerGroup | None]]:
    """Policy, frozen reference, and critic (with GAE); all start loading at once."""
    say = _say(console)
    models = learner_models(config) | {"reference": False}
    with learner_groups(models, model_path, config.learner, seed=config.run.seed, say=say) as groups:
        yield groups["policy"], groups["reference"], groups.get("critic")
