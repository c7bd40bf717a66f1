"""What has to be there before a turn of the loop goes on: settings, data and models that hold, and people's labels."""

from __future__ import annotations

from genrm_rl.bootstrap.preflight import check_rounds, check_settings
from genrm_rl.closed_loop.people import LABEL_FILE, wait_for_people
from genrm_rl.closed_loop.preferences import people_are_wanted
from genrm_rl.closed_loop.report import write_loop_report
from genrm_rl.closed_loop.workbench import Workbench
from genrm_rl.models import resolve_model
from genrm_rl.runtime.provenance import command_line
from genrm_rl.runtime.tracking import check_sinks


def check_loop(bench: Workbench) -> None:
    """Raise GenRMError for what would only fail after hours: settings, data, questions and models of every stage."""
    config = bench.config
    check_settings(config.judge)
    check_sinks(config.policy.tracking)
    resolve_model(config.policy.model)
    bench.questions(1)
    check_rounds(config.judge, bench.splits)


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
