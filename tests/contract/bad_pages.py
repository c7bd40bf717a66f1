"""What can be wrong with runs that are to be looked at, one function each."""

from __future__ import annotations

from pathlib import Path

from tests.contract.bad_input_files import BadInput


def one_run_to_compare(folder: Path) -> BadInput:
    return BadInput(["compare", "earlier"], ("2 to 8 runs or turns, and got 1",), "name them one after another")


def run_to_compare_that_is_not_there(folder: Path) -> BadInput:
    names = ("there is no run 'ghost' in runs (there are: earlier)",)
    return BadInput(["compare", "ghost", "earlier"], names, "give its directory, or --root")


def run_to_watch_whose_record_is_broken(folder: Path) -> BadInput:
    return BadInput(["watch", "earlier"], ("earlier/provenance.json is not the record of a run",), "give another run")


def setting_that_watch_does_not_have(folder: Path) -> BadInput:
    names = ("command line: unknown key alarms.kll",)
    return BadInput(["watch", "earlier", "--alarms.kll", "1"], names, "did you mean alarms.kl?")


PAGE_KINDS = (
    one_run_to_compare,
    run_to_compare_that_is_not_there,
    run_to_watch_whose_record_is_broken,
    setting_that_watch_does_not_have,
)
