"""The alignment job, top to bottom: questions, judge, engines, learners, loop, report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.alignment.hosts import Hosts, learners_of, reward_client, rewarder_of, second_judge
from genrm_rl.alignment.lost import check_learned, has_learned
from genrm_rl.alignment.measure import PolicyMeasurement
from genrm_rl.alignment.prompts import load_prompts
from genrm_rl.alignment.references import with_references
from genrm_rl.alignment.rejudge import first_lost_step, go_back, judge_again
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.learners.skips import Skips
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.runtime.room import check_plan, on_this_machine
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.runtime.storage import write_json
from genrm_rl.runtime.tracking import open_sinks
from placement.roles import learner_models


def run_alignment(config: AlignConfig, console: Console, *, must_exist: bool = False, rejudge: bool = False) -> Path:
    """Run or continue the job; returns the run directory. ``rejudge`` asks again for rewards that it lost.

    Raises GenRMError before anything expensive if input is bad, and RewardsLostError or NothingLearnedError for a run
    that got too few rewards.
    """
    if must_exist or rejudge:
        check_exists(config.run)
    check_plan(config)
    config = on_this_machine(config, console)
    model = resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path), config.sampling.chat_template_kwargs)
    room = config.model.max_context - config.sampling.max_tokens
    shown = config.judge.show_reference
    prompts = load_prompts(config.prompts, chat, room=room, seed=config.run.seed, show_reference=shown)
    check_judge(config)
    with RunDirectory(config) as run:
        lost = first_lost_step(run, config.reward) if rejudge else None
        if rejudge or not run.done("policy"):
            check_service(config, console)
        run.claim()
        if lost is not None:
            go_back(run, lost)
        write_json(run.path / "prompts.json", prompts.as_dict())
        continued = " (continued)" if run.resumed else ""
        console.print(f"run {run.path}{continued}: {prompts.describe()}", highlight=False)
        if not run.done("policy"):
            from genrm_rl.learners.group import work_until_done

            work_until_done(
                lambda: _work(config, run, console, chat, prompts, model.path, lost),
                config.learner,
                lambda line: console.print(line, highlight=False),
            )
        from genrm_rl.alignment.report import write_align_report

        report = write_align_report(run, config, console)
        console.print(f"report: {report}", highlight=False)
        check_learned(run)
    return run.path


def _work(
    config: AlignConfig,
    run: RunDirectory,
    console: Console,
    chat: ChatEncoder,
    prompts: Any,
    model_path: Path,
    lost: int | None,
) -> None:
    """Start everything, judge step ``lost`` again, go through the loop, keep the policy."""
    from genrm_rl.rollout.shared_pool import engine_pool

    with (
        ray_session(cpus=max(logical_cpus(), math.ceil(reserved_cpus(config)))),
        open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
        learners_of(config, model_path, console) as (policy, reference, critic),
        # Before the judge, which is waited for: both start at the same time.
        engine_pool(
            model_path,
            config.rollout,
            config.model,
            console=console,
            logprobs_of="sampling",
            lora_rank=config.learner.lora_rank,
            role="policy",
        ) as pool,
        rewarder_of(config, console) as rewarder,
    ):
        hosts = Hosts(config, run, console, sink, chat, prompts, model_path, pool, policy, reference, critic, rewarder)
        hosts.prompts = with_references(hosts)
        if lost is not None and not (run.path / f"steps/{lost:05d}/metrics.json").is_file():  # not learned since
            judge_again(hosts, lost)
        measurement = PolicyMeasurement(hosts)
        if config.method == "ppo":
            from genrm_rl.alignment.ppo import new_ppo

            steps = config.ppo.steps
            new_ppo(hosts).run(lambda step: measurement.measure(step, last=steps))
        else:
            from genrm_rl.alignment.dpo import OnlineDPO

            steps = 1 if config.dpo.pairs else config.dpo.rounds
            OnlineDPO(hosts, Skips(config.learner.max_skipped)).run(lambda step: measurement.measure(step, last=steps))
        if hosts.client is not None:
            write_statistics(hosts)
        if has_learned(run):
            keep_policy(hosts, steps)


def reserved_cpus(config: AlignConfig) -> float:
    """CPUs that all roles of a run reserve together on a machine without GPUs: they live side by side and take turns,
    so a Ray of our own hands out as many as they need."""
    learners = len(learner_models(config))
    judge = config.serving.max_replicas * config.judge_rollout.cpus_per_engine + 1.0  # and the ingress
    return (
        learners * config.learner.workers * config.learner.cpus_per_worker
        + config.rollout.engines * config.rollout.cpus_per_engine
        + (judge if config.serves_judge else 0.0)
    )


def keep_policy(hosts: Hosts, steps: int) -> None:
    """The aligned policy as a checkpoint in HF layout, under ``policy/``."""

    def compute(directory: Path) -> dict[str, Any]:
        with hosts.turns.learning():
            hosts.policy.save(directory)
        return {
            "objective": hosts.config.method,
            "version": f"{hosts.config.run.id}-{steps}",
            "parent": str(hosts.model_path),
            "steps": steps,
        }

    hosts.run.stage("policy", compute)


def write_statistics(hosts: Hosts) -> None:
    """What the calls to the judge came to in this process."""
    from dataclasses import asdict

    from genrm_rl.runtime.storage import write_json

    client = hosts.client
    assert client is not None
    found = asdict(client.statistics)
    seconds = found.pop("judge_seconds")
    found["judge_seconds_median"] = sorted(seconds)[len(seconds) // 2] if seconds else None
    write_json(hosts.run.path / "reward_client.json", found)


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


def check_judge(config: AlignConfig) -> None:
    """Raise GenRMError if the judge that this job would serve does not exist."""
    if config.serves_judge:
        from genrm_rl.config.serving import ServeConfig
        from genrm_rl.serving.judge_apps import judge_to_serve

        judge_to_serve(ServeConfig(model=config.judge_model, judge=config.judge, serving=config.serving))
