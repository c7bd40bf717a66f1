"""The closed loop: bootstrap a judge, align a policy with it, label the policy's answers, improve the judge, repeat.

``genrm-rl loop``, ``genrm-rl quickstart`` and ``jobs/close_loop.py``. Each step of a turn is a run or a stage on disk,
so a loop that was cut off goes on where it was. One level down: ``genrm_rl/closed_loop/``, above all ``turn.py``.
"""

from __future__ import annotations

import functools
import math
import shutil
from pathlib import Path

from rich.console import Console

from genrm_rl.alignment.preflight import reserved_cpus
from genrm_rl.closed_loop.before import check_loop, people_have_come
from genrm_rl.closed_loop.inputs import LoopInputs
from genrm_rl.closed_loop.preferences import label, new_comparisons
from genrm_rl.closed_loop.report import write_loop_report
from genrm_rl.closed_loop.turn import align, aligned_in, first_judge, gate, next_judge, served_after
from genrm_rl.config.loop import LoopConfig
from genrm_rl.rollout.shared_pool import shared_engines
from genrm_rl.runtime.console import say_whole
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.stories.align_policy import run_alignment
from genrm_rl.stories.bootstrap_genrm import run_bootstrap
from placement.room import check_plan, on_this_machine


def run_loop(config: LoopConfig, console: Console, *, must_exist: bool = False, rejudge: bool = False) -> Path:
    """Run or continue the loop until its turns are done or a person is asked for labels; returns its directory.
    ``rejudge`` asks again for rewards that its alignment lost. Raises GenRMError before anything expensive if input is
    bad."""
    if must_exist or rejudge:
        check_exists(config.run)
    check_plan(config)
    config = on_this_machine(config, console)
    with RunDirectory(config) as run:
        inputs = LoopInputs(config)
        finished = [turn for turn in range(1, config.turns + 1) if run.done(f"turn{turn}/stages/gate")]
        if len(finished) < config.turns:
            check_loop(inputs)
            run.claim()
            say_whole(console, f"loop {run.path}{' (continued)' if run.resumed else ''}: {config.turns} turn(s)")
            turn = len(finished) + 1
            while turn <= config.turns and people_have_come(run, turn, console):
                turn = go_on(run, turn, inputs, console, rejudge)
        page = write_loop_report(run, console)
    say_whole(console, f"report: {page}")
    return run.path


def go_on(run: RunDirectory, turn: int, inputs: LoopInputs, console: Console, rejudge: bool) -> int:
    """Turn after turn from ``turn`` on, in one Ray: each job uses the session that it finds. Returns the turn in which
    people are wanted, for whom neither Ray nor an engine waits, or the one after the last."""
    config = inputs.config
    with ray_session(cpus=max(logical_cpus(), math.ceil(reserved_cpus(config.policy)))):  # allocate, start
        while turn <= config.turns and run_turn(run, turn, inputs, console, rejudge):
            turn += 1
    shutil.rmtree(run.path / "work", ignore_errors=True)
    return turn


def run_turn(run: RunDirectory, turn: int, inputs: LoopInputs, console: Console, rejudge: bool) -> bool:
    """Go through a turn, or on with it. False if it waits for a person."""
    config = inputs.config
    bootstrap = functools.partial(run_bootstrap, console=console, brief=True)  # the loop has a table of its own
    alignment = functools.partial(run_alignment, console=console)

    def say(what: str) -> None:
        say_whole(console, f"== turn {turn} of {config.turns}: {what}")

    if turn == 1:
        say("bootstrap a judge")
    judge = first_judge(run, bootstrap) if turn == 1 else served_after(run, turn - 1)

    with shared_engines():  # of the policy
        say(f"align the policy with judge {judge.version}")
        before = aligned_in(run, turn - 1)
        policy = align(run, turn, judge, before, alignment, rejudge=rejudge)  # sample, judge, learn, publish
        say("new comparisons from the aligned policy")
        new_comparisons(run, turn, policy, inputs, console)  # sample

    with shared_engines():  # of the judges
        say(f"label them ({config.labels.source})")
        labelled = label(run, turn, judge, inputs, console)  # judge: the judge itself, or people
        if labelled is None:
            return False
        candidate = None
        if labelled["labelled"]:
            say("train the next judge on the first pairs and the new ones")
            candidate = next_judge(run, turn, bootstrap)  # learn
        else:
            say_whole(console, "no comparison got a label, so there is nothing new to learn from and the judge stays")

    gate(run, turn, judge, candidate, console)  # measure: who is served from now on?
    return True
