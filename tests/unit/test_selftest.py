"""The self-test of a machine: its plan, its limits, and one check from command to file."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from genrm_rl.errors import ConfigError
from genrm_rl.selftest.checks import CHECKS, NAMES, Check, Machine, Place, in_processes
from genrm_rl.selftest.command import run_selftest
from genrm_rl.selftest.process import findings

PARITY = CHECKS[NAMES.index("learner_parity")]


def test_checks_of_one_process_stay_together_and_in_order():
    groups = in_processes(CHECKS)
    assert [check for group in groups for check in group] == list(CHECKS)
    assert all(len({check.group for check in group}) == 1 for group in groups)


def test_every_check_has_its_function():
    from genrm_rl.selftest import engine_checks, learner_checks, publication_checks

    known = {**vars(engine_checks), **vars(publication_checks)}
    for check in CHECKS:
        assert callable((known if check.group == "engine" else vars(learner_checks))[check.name])


@pytest.mark.parametrize(("gpus", "refused"), [(0, {1, 2}), (1, {2}), (2, set())])
def test_a_check_without_its_device_is_refused_with_both_numbers(gpus, refused):
    machine = Machine(gpus)
    found = {check.gpus for check in CHECKS if (sentence := machine.refusal(check)) and str(gpus) in sentence}
    assert found == refused


def test_an_unknown_name_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="learner_party is no check; choose among learner_memory"):
        run_selftest(tmp_path / "out", ["learner_party"], "cpu", Console(quiet=True))
    assert not (tmp_path / "out").exists()


def test_a_check_over_its_limit_is_ended_and_the_next_one_gets_a_process_of_its_own(tmp_path):
    hasty = [Check(name, "learner", 0.5, "", "") for name in ("learner_speed", "learner_parity")]
    found = list(findings(hasty, Place(Machine(), tmp_path), tmp_path / "log"))
    assert [(each.check, each.sentence) for each in found] == [(c.name, "no result within 0.5 s") for c in hasty]


def test_what_breaks_is_a_finding_with_its_cause_and_the_next_check_runs(tmp_path):
    broken = Check("learner_nothing", "learner", 600, "", "")  # only to start takes a busy machine minutes
    failed, passed = findings([broken, PARITY], Place(Machine(), tmp_path), tmp_path / "log")
    assert failed.status == "failed" and failed.sentence.startswith("AttributeError")
    assert "Traceback" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().count("== ") == 2  # each once, in one process
    assert passed.status == "ok" and passed.figures["float32_difference"] < 1e-4


@pytest.mark.drill
def test_the_whole_selftest_passes_on_this_machine(tmp_path):
    assert run_selftest(tmp_path, [], "cpu", Console(quiet=True))
    written = json.loads((tmp_path / "selftest.json").read_text())
    states = {each["check"]: each["status"] for each in written["checks"]}
    assert states == {check.name: "skipped" if check.gpus else "ok" for check in CHECKS}
    assert not (tmp_path / "work").exists()
