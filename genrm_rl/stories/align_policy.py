"""Align a policy with a judge's rewards: sample answers, judge them, learn, publish the new weights, measure; repeat.

``genrm-rl align``, ``jobs/align_ppo.py`` and ``jobs/align_dpo.py``. One level down: ``genrm_rl/alignment/``.
"""

from __future__ import annotations

import math
from pathlib import Path

from rich.console import Console

from genrm_rl.alignment.dpo import OnlineDPO
from genrm_rl.alignment.hosts import learners_of, policy_engines, rewarder_of, turns_of
from genrm_rl.alignment.lost import check_learned, has_learned
from genrm_rl.alignment.measure import PolicyMeasurement
from genrm_rl.alignment.ppo import new_ppo
from genrm_rl.alignment.preflight import check_service, check_settings, questions_of, reserved_cpus
from genrm_rl.alignment.prompts import PromptSets
from genrm_rl.alignment.references import with_references
from genrm_rl.alignment.rejudge import first_lost_step, go_back, judge_again
from genrm_rl.alignment.report import write_align_report
from genrm_rl.alignment.results import keep_policy, write_statistics
from genrm_rl.alignment.rollouts import RolloutStages
from genrm_rl.alignment.sampler import PolicySampler
from genrm_rl.alignment.step_log import StepLog
from genrm_rl.alignment.weights import PolicyWeights
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.learners.group import work_until_done
from genrm_rl.runtime.console import say, say_on
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.runtime.storage import write_json
from genrm_rl.runtime.tracking import open_sinks
from genrm_rl.stories.align_dpo import by_preferences
from genrm_rl.stories.align_ppo import by_policy_gradient
from placement.room import on_this_machine


def run_alignment(config: AlignConfig, console: Console, *, must_exist: bool = False, rejudge: bool = False) -> Path:
    """Run or continue the job; returns the run directory. ``rejudge`` asks again for rewards that it lost.

    Raises GenRMError before anything expensive if input is bad, and RewardsLostError or NothingLearnedError for a run
    that got too few rewards.
    """
    if must_exist or rejudge:
        check_exists(config.run)
    check_settings(config)
    config = on_this_machine(config, console)  # allocate
    model_path, chat, prompts = questions_of(config)
    with RunDirectory(config) as run:
        lost = first_lost_step(run, config.reward) if rejudge else None
        if rejudge or not run.done("policy"):
            check_service(config, console)
        run.claim()
        if lost is not None:
            go_back(run, lost)
        write_json(run.path / "prompts.json", prompts.as_dict())
        continued = " (continued)" if run.resumed else ""
        say(console, f"run {run.path}{continued}: {prompts.describe()}")

        def work() -> None:
            with (
                ray_session(cpus=max(logical_cpus(), math.ceil(reserved_cpus(config)))),
                open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
                learners_of(config, model_path, console) as learners,  # start
                policy_engines(config, model_path, console) as pool,
                rewarder_of(config, console) as rewarder,
            ):
                turns = turns_of(config, pool, learners, rewarder.client)
                weights = PolicyWeights(run, config.learner, learners, pool, turns)
                rollouts = RolloutStages(run, PolicySampler(pool, chat, config.sampling, config.run.seed), rewarder)
                log = StepLog(run.path, sink, console)
                asked = with_references(config, prompts, rollouts.sampler, run)
                if lost is not None:
                    judge_again(rollouts, lost, asked, log.say)
                steps = align(config, asked, rollouts, weights, log)
                if has_learned(run):
                    keep_policy(weights, config, model_path, steps)

        if not run.done("policy"):
            work_until_done(work, config.learner, say_on(console))
        say(console, f"report: {write_align_report(run, config, console)}")
        check_learned(run)
    return run.path


def align(
    config: AlignConfig, prompts: PromptSets, rollouts: RolloutStages, weights: PolicyWeights, log: StepLog
) -> int:
    """Go through the loop from its last checkpoint on; returns the number of its steps."""
    run, judge = rollouts.run, rollouts.rewarder.client
    measurement = PolicyMeasurement(config, run, prompts.test, rollouts.sampler, weights, judge, log)
    begin, learn_by = (new_ppo, by_policy_gradient) if config.method == "ppo" else (OnlineDPO, by_preferences)
    loop = begin(config, prompts, rollouts, weights, log)
    learn_by(loop, lambda step: measurement.measure(step, last=loop.steps))
    weights.checkpoints.settle()
    if judge is not None:
        write_statistics(run.path, judge)
    return loop.steps
