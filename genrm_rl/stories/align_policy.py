"""Align a policy with a judge's rewards: sample answers, judge them, learn, publish the new weights, measure; repeat.

``genrm-rl align``, ``jobs/align_ppo.py`` and ``jobs/align_dpo.py``. One level down: ``genrm_rl/alignment/``.
"""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from genrm_rl.algorithms.openrlhf_adapter import check_openrlhf
from genrm_rl.alignment.dpo import OnlineDPO
from genrm_rl.alignment.hosts import Hosts, opened_hosts
from genrm_rl.alignment.lost import check_learned, has_learned
from genrm_rl.alignment.measure import PolicyMeasurement
from genrm_rl.alignment.ppo import PPO, new_ppo
from genrm_rl.alignment.preflight import check_judge, check_service, questions_of, reserved_cpus
from genrm_rl.alignment.references import with_references
from genrm_rl.alignment.rejudge import first_lost_step, go_back, judge_again
from genrm_rl.alignment.report import write_align_report
from genrm_rl.alignment.results import keep_policy, write_statistics
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.learners.group import work_until_done
from genrm_rl.learners.skips import Skips
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.runtime.storage import write_json
from genrm_rl.stories.align_dpo import by_preferences
from genrm_rl.stories.align_ppo import by_policy_gradient
from placement.room import check_plan, on_this_machine


def run_alignment(config: AlignConfig, console: Console, *, must_exist: bool = False, rejudge: bool = False) -> Path:
    """Run or continue the job; returns the run directory. ``rejudge`` asks again for rewards that it lost.

    Raises GenRMError before anything expensive if input is bad, and RewardsLostError or NothingLearnedError for a run
    that got too few rewards.
    """
    if must_exist or rejudge:
        check_exists(config.run)
    check_openrlhf()
    check_plan(config)
    config = on_this_machine(config, console)  # allocate
    model_path, chat, prompts = questions_of(config)
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

        def work() -> None:
            with (
                ray_session(cpus=max(logical_cpus(), math.ceil(reserved_cpus(config)))),
                opened_hosts(config, run, console, chat, prompts, model_path) as hosts,  # start
            ):
                align(hosts, lost)

        if not run.done("policy"):
            work_until_done(work, config.learner, lambda line: console.print(line, highlight=False))
        console.print(f"report: {write_align_report(run, config, console)}", highlight=False)
        check_learned(run)
    return run.path


def align(hosts: Hosts, lost: int | None) -> None:
    """Judge step ``lost`` again, go through the loop from its last checkpoint on, keep the policy."""
    config, run = hosts.config, hosts.run
    hosts.prompts = with_references(hosts)
    if lost is not None and not (run.path / f"steps/{lost:05d}/metrics.json").is_file():  # not learned since
        judge_again(hosts, lost)
    loop = new_ppo(hosts) if config.method == "ppo" else OnlineDPO(hosts, Skips(config.learner.max_skipped))
    measurement = PolicyMeasurement(hosts)
    steps = loop.config.steps if isinstance(loop, PPO) else loop.rounds
    learn_by = by_policy_gradient if isinstance(loop, PPO) else by_preferences
    learn_by(loop, lambda step: measurement.measure(step, last=steps))
    hosts.checkpoints.settle()
    if hosts.client is not None:
        write_statistics(hosts)
    if has_learned(run):
        keep_policy(hosts, steps)
