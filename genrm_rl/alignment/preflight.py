"""What an alignment needs, looked at before engines and learners start: processors, questions, and a judge."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from genrm_rl.algorithms.openrlhf_adapter import check_openrlhf
from genrm_rl.alignment.hosts import reward_client, second_judge
from genrm_rl.alignment.prompts import PromptSets, load_prompts
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from placement.roles import PolicyConfig, learner_models, marks_steps
from placement.room import check_plan


def reserved_cpus(config: PolicyConfig) -> float:
    """CPUs that all roles of a run reserve together on a machine without GPUs: they live side by side and take turns,
    so a Ray of our own hands out as many as they need."""
    learners = len(learner_models(config))
    judge = config.serving.max_replicas * config.judge_rollout.cpus_per_engine + 1.0  # and the ingress
    return (
        learners * config.learner.workers * config.learner.cpus_per_worker
        + config.rollout.engines * config.rollout.cpus_per_engine
        + (judge if config.serves_judge else 0.0)
        + (config.judge_rollout.engines * config.judge_rollout.cpus_per_engine if marks_steps(config) else 0.0)
    )


def check_service(config: AlignConfig, console: Console) -> None:
    """Wait for the judges at ``reward.url`` and ``evaluation.second_judge_url`` before engines and learners start.
    Raises RewardServiceError if nobody is there, or for a wrong token."""
    if config.reward.source == "service" and config.reward.url is not None:
        with reward_client(config, config.reward.url, console) as client:
            client.judge_version()
            client.check_token()
    if config.evaluation.second_judge_url is not None:
        with second_judge(config, console) as client:
            client.judge_version()


def check_settings(config: PolicyConfig) -> None:
    """Raise GenRMError if nothing can be trained on this Python, the named cluster can't hold the job, or the judge
    that it would serve does not exist."""
    check_openrlhf()
    check_plan(config)
    if config.serves_judge:
        from genrm_rl.config.serving import ServeConfig
        from genrm_rl.serving.replicas.judge_apps import judge_to_serve

        judge_to_serve(ServeConfig(model=config.judge_model, judge=config.judge, serving=config.serving))


def questions_of(config: AlignConfig) -> tuple[Path, ChatEncoder, PromptSets]:
    """The starting policy's directory, how it reads a conversation, and the questions that fit its context. Raises
    GenRMError for a model or questions that can't be used."""
    model = resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path), config.sampling.chat_template_kwargs)
    room, shown = config.model.max_context - config.sampling.max_tokens, config.judge.show_reference
    return model.path, chat, load_prompts(config.prompts, chat, room=room, seed=config.run.seed, show_reference=shown)
