"""``genrm-rl selftest``, from outside: which checks, a line as each ends, a table, ``selftest.json``."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from genrm_rl.errors import ConfigError, EnvironmentProblem
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import write_json
from genrm_rl.selftest.checks import CHECKS, NAMES, Check, Figures, Finding, Machine, Place, in_processes
from genrm_rl.selftest.process import findings

MARKS = {"ok": "[green]ok[/]", "failed": "[bold red]FAILED[/]", "skipped": "[yellow]skipped[/]"}


def run_selftest(folder: Path, names: Sequence[str], device: str, console: Console) -> bool:
    """Run the checks of ``names`` (none: all) on ``device`` (`auto`, `cpu`, `cuda`); True if none failed.

    Writes ``selftest.json`` and the logs into ``folder``, whole after every check. Raises ConfigError for a name that
    is no check, and EnvironmentProblem for a device that is not there.
    """
    here = this_machine(device)
    wanted = chosen_names(names)
    chosen = [check for check in CHECKS if check.name in wanted]
    place = Place(here, (folder / "work").absolute())
    place.folder.mkdir(parents=True, exist_ok=True)
    gpu = f"{here.gpus} x {here.gpu_name}, {here.gpu_gib:.0f} GiB" if here.gpus else "no GPU"
    console.print(f"{machine()['cpu']}, {machine()['cores']} cores, {gpu}; logs in {folder}", highlight=False)
    began, found = time.monotonic(), list[Finding]()
    try:
        for finding in all_findings(chosen, place, folder):
            found.append(finding)
            console.print(line(finding), highlight=False, soft_wrap=True)
            write_json(folder / "selftest.json", as_json(found, here, time.monotonic() - began))
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)
    console.print(table(found))
    return show_failures(found, folder, console)


def chosen_names(names: Sequence[str]) -> set[str]:
    """All checks without a name. Raises ConfigError for what is no check."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(f"{unknown[0]} is no check; choose among {', '.join(NAMES)}")
    return set(names or NAMES)


def this_machine(device: str) -> Machine:
    """Raises ConfigError for an unknown device, EnvironmentProblem if `cuda` is asked for and not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {device} is not a device; choose auto, cpu or cuda")
    import torch

    gpus = 0 if device == "cpu" or not torch.cuda.is_available() else torch.cuda.device_count()
    if device == "cuda" and not gpus:
        raise EnvironmentProblem("--device cuda, and torch sees no GPU here; `genrm-rl doctor` says why")
    if not gpus:
        return Machine()
    first = torch.cuda.get_device_properties(0)
    return Machine(gpus, first.name, first.total_memory / 2**30)


def all_findings(checks: Sequence[Check], place: Place, folder: Path) -> Iterator[Finding]:
    """In the order of the checks within each process; what the machine has no device for comes last."""
    possible = [check for check in checks if place.machine.refusal(check) is None]
    for group in in_processes(possible):
        yield from findings(group, place, folder / f"{group[0].group}.log")
    for check in checks:
        if check not in possible:
            yield Finding(check.name, "skipped", sentence=str(place.machine.refusal(check)))


def line(finding: Finding) -> str:
    """One check, as it ends."""
    said = ": ".join(filter(None, (finding.sentence, shown(finding.figures))))
    return f"{MARKS[finding.status]} {finding.check} ({finding.seconds:.0f} s) {escape(said)}"


def table(found: Sequence[Finding]) -> Table:
    """All checks with what they prove."""
    proves = {check.name: check.proves for check in CHECKS}
    made = Table("check", "state", Column("seconds", justify="right"), Column("what it shows", overflow="fold"))
    for each in found:
        made.add_row(each.check, MARKS[each.status], f"{each.seconds:.0f}", proves[each.check])
    return made


def show_failures(found: Sequence[Finding], folder: Path, console: Console) -> bool:
    """What to do about every failed check; True if there is none."""
    known = {check.name: check for check in CHECKS}
    failed = [each for each in found if each.status == "failed"]
    for each in failed:
        check = known[each.check]
        text = f"{each.check}: {each.sentence} -> {check.way_out}; log: {folder / check.group}.log"
        console.print(f"{MARKS['failed']} {escape(text)}", highlight=False, soft_wrap=True)
    if not failed:
        console.print(f"this machine is fit; figures in {folder / 'selftest.json'}", highlight=False, soft_wrap=True)
    return not failed


def shown(figures: Figures) -> str:
    """``name value`` with three digits."""
    return ", ".join(
        f"{name} {value if isinstance(value, str | int) else f'{value:.3g}'}" for name, value in figures.items()
    )


def as_json(found: Sequence[Finding], here: Machine, seconds: float) -> dict[str, object]:
    """The file for programs."""
    return {
        "machine": machine() | asdict(here),
        "versions": versions(),
        "seconds": seconds,
        "checks": [asdict(each) for each in found],
    }
