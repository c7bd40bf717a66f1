"""What would only fail after hours, found before Ray starts: settings that contradict the machine or the data."""

from __future__ import annotations

from genrm_rl.algorithms.openrlhf_adapter import check_openrlhf
from genrm_rl.config import ITERATED, LearnerConfig, RolloutConfig, RunConfig
from genrm_rl.errors import ConfigError, EnvironmentProblem
from genrm_rl.preferences.sources import DataSplits, check_test_sets
from genrm_rl.runtime.tracking import check_sinks
from placement.roles import bootstrap_models
from placement.room import check_plan, check_room, on_a_cluster


def check_settings(config: RunConfig) -> None:
    """Raise ConfigError or EnvironmentProblem for settings that can't work here, before any data is read."""
    check_sinks(config.tracking)
    learned = [method for method in config.bootstrap.methods if method != "llm_judge"]
    if learned and not config.data.train:
        raise ConfigError(f"data.train is empty and {learned[0]} learns from it; list training pairs under data.train")
    check_test_sets(config.data)
    if learned:
        check_openrlhf()
        check_attention(config.learner)
        check_weight_backend(config.rollout)
    check_plan(config)
    check_room(config.rollout, config.learner, len(bootstrap_models(config)))


def check_attention(learner: LearnerConfig) -> None:
    """Raise ConfigError or EnvironmentProblem for an attention that the fits of this run could not use."""
    if learner.attention == "eager" and learner.packing:
        raise ConfigError("learner.attention eager can't keep packed sequences apart; set learner.packing to off")
    if learner.attention == "flash_attention_2" and not on_a_cluster():
        from genrm_rl.learners.attention import choose_attention

        choose_attention(learner.attention, packed=learner.packing, precision=learner.compute_format)


def check_weight_backend(rollout: RolloutConfig) -> None:
    """Raise EnvironmentProblem for a way of sending weights that needs a GPU in this process, where there is none."""
    if rollout.weight_backend not in ("nccl", "ipc"):
        return
    import torch

    if not torch.cuda.is_available():
        raise EnvironmentProblem(
            f"rollout.weight_backend {rollout.weight_backend} sends from a GPU, and this process has none; "
            "set it to auto or shared_memory"
        )


def check_rounds(config: RunConfig, splits: DataSplits) -> None:
    """Raise ConfigError if a round would have no pair to learn from."""
    rounds, pairs = config.bootstrap.iterations, len(splits.train)
    if rounds > pairs and any(method in ITERATED for method in config.bootstrap.methods):
        raise ConfigError(
            f"bootstrap.iterations is {rounds} and there are only {pairs} training pairs; lower it or give more data"
        )
