"""The closed loop, top to bottom: check everything, go through the turns, write the page."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from rich.console import Console

from genrm_rl.alignment.job import reserved_cpus
from genrm_rl.bootstrap.preflight import check_rounds, check_settings
from genrm_rl.closed_loop.people import LABEL_FILE, wait_for_people
from genrm_rl.closed_loop.preferences import people_are_wanted
from genrm_rl.closed_loop.report import write_loop_report
from genrm_rl.closed_loop.turn import run_turn
from genrm_rl.closed_loop.workbench import Workbench
from genrm_rl.config.loop import LoopConfig
from genrm_rl.models import resolve_model
from genrm_rl.runtime.run_directory import RunDirectory, check_exists, command_line
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.runtime.tracking import check_sinks
from placement.room import check_plan, on_this_machine


def run_loop(config: LoopConfig, console: Console, *, must_exist: bool = False, rejudge: bool = False) -> Path:
    """Run or continue the loop until its turns are done or a person is asked for labels; returns its directory.
    ``rejudge`` asks again for rewards that its alignment lost.

    Raises GenRMError before anything expensive if input is bad.
    """
    if must_exist or rejudge:
        check_exists(config.run)
    check_plan(config)
    config = on_this_machine(config, console)
    with RunDirectory(config) as run:
        bench = Workbench(config, run, console, rejudge)
        finished = [turn for turn in range(1, config.turns + 1) if run.done(f"turn{turn}/stages/gate")]
        if len(finished) < config.turns:
            check_loop(bench)
            run.claim()
            bench.say(f"loop {run.path}{' (continued)' if run.resumed else ''}: {config.turns} turn(s)")
            turn = len(finished) + 1
            while turn <= config.turns and people_have_come(bench, turn):
                turn = go_on(bench, turn)
        page = write_loop_report(bench)
    bench.say(f"report: {page}")
    return run.path


def go_on(bench: Workbench, turn: int) -> int:
    """Turn after turn from ``turn`` on, in one Ray: each job uses the session that it finds. Returns the turn in which
    people are wanted, for whom neither Ray nor an engine waits, or the one after the last."""
    config = bench.config
    with ray_session(cpus=max(logical_cpus(), math.ceil(reserved_cpus(config.policy)))):
        while turn <= config.turns and run_turn(bench, turn):
            turn += 1
    shutil.rmtree(bench.root / "work", ignore_errors=True)
    return turn


def people_have_come(bench: Workbench, turn: int) -> bool:
    """False if people are wanted and asked by a file, which they are told. At the desk it waits for them."""
    if not people_are_wanted(bench, turn):
        return True
    if bench.config.labels.source == "people":
        write_loop_report(bench)
        wait_for_people(bench, turn)
        return True
    bench.say(
        f"waiting for labels: fill the empty labels of {bench.root / f'turn{turn}' / LABEL_FILE} with a, b or skip "
        f"(HOW_TO_LABEL.txt beside it says how), or label on a page with `genrm-rl label {bench.root}`; then give the "
        f"same command again: {command_line()}"
    )
    return False


def check_loop(bench: Workbench) -> None:
    """Raise GenRMError for what would only fail after hours: settings, data, questions and models of every stage."""
    config = bench.config
    check_settings(config.judge)
    check_sinks(config.policy.tracking)
    resolve_model(config.policy.model)
    bench.questions(1)
    check_rounds(config.judge, bench.splits)
