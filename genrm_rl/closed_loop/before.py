"""What has to be there before a turn of the loop goes on: settings, data and models that hold, and people's labels."""

from __future__ import annotations

from rich.console import Console

from genrm_rl.bootstrap.preflight import check_rounds, check_settings
from genrm_rl.closed_loop.inputs import LoopInputs
from genrm_rl.closed_loop.people import LABEL_FILE, wait_for_people
from genrm_rl.closed_loop.preferences import people_are_wanted
from genrm_rl.closed_loop.report import write_loop_report
from genrm_rl.models import resolve_model
from genrm_rl.runtime.console import say_whole
from genrm_rl.runtime.provenance import command_line
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.tracking import check_sinks


def check_loop(inputs: LoopInputs) -> None:
    """Raise GenRMError for what would only fail after hours: settings, data, questions and models of every stage."""
    config = inputs.config
    check_settings(config.judge)
    check_sinks(config.policy.tracking)
    resolve_model(config.policy.model)
    inputs.questions(1)
    check_rounds(config.judge, inputs.splits)


def people_have_come(run: RunDirectory, turn: int, console: Console) -> bool:
    """False if people are wanted and asked by a file, which they are told. At the desk it waits for them."""
    if not people_are_wanted(run, turn):
        return True
    if run.config.labels.source == "people":
        write_loop_report(run, console)
        wait_for_people(run, turn, console)
        return True
    say_whole(
        console,
        f"waiting for labels: fill the empty labels of {run.path / f'turn{turn}' / LABEL_FILE} with a, b or skip "
        f"(HOW_TO_LABEL.txt beside it says how), or label on a page with `genrm-rl label {run.path}`; then give the "
        f"same command again: {command_line()}",
    )
    return False
