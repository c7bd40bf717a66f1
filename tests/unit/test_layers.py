"""The layers of the design, checked on the source and on what an import really pulls in."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("genrm_rl", "placement", "jobs") for path in (ROOT / folder).rglob("*.py"))
HEAVY = {"ray", "vllm", "deepspeed", "openrlhf"}
LEARNING = {"torch", "transformers"}
# Where an engine or trainer may be imported at all, so that a version bump touches one place.
HOMES = {
    "vllm": "genrm_rl/rollout/vllm_adapter",
    "deepspeed": "genrm_rl/learners/deepspeed_adapter",
    "openrlhf": "genrm_rl/algorithms/openrlhf_adapter",
}
LONGEST_FILE = 400


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def modules_of(package: str) -> list[str]:
    return [module_name(path) for path in SOURCES if relative(path).startswith(f"genrm_rl/{package}/")]


def imported_roots(path: Path) -> set[str]:
    """Top-level packages that the file imports anywhere, by statement or by importlib with a literal name."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            roots.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                roots.add(argument.value.partition(".")[0])
    return roots


def loaded_by(modules: list[str]) -> set[str]:
    """Top-level packages in sys.modules after a fresh interpreter has imported ``modules``."""
    code = (
        "import importlib, json, sys\n"
        "for name in sys.argv[1:]:\n    importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", ["config", "preferences", "judging", "algorithms", "rewards", "environments"])
def test_importing_a_pure_package_loads_no_engine_and_no_trainer(package):
    modules = modules_of(package)
    assert modules
    assert not loaded_by(modules) & HEAVY


def test_planning_needs_neither_ray_nor_torch():
    modules = [module_name(path) for path in SOURCES if relative(path).startswith("placement/")]
    assert not loaded_by([name for name in modules if name != "placement.acquire"]) & (HEAVY | LEARNING)


def test_reward_functions_for_other_trainers_need_neither_an_engine_nor_torch():
    assert not loaded_by(modules_of("rewards/trainers")) & (HEAVY | LEARNING | {"numpy", "fastapi", "pydantic"})


def test_importing_the_configuration_loads_nothing_heavy():
    assert not loaded_by(modules_of("config")) & (HEAVY | LEARNING | {"datasets", "pandas", "pyarrow", "scipy"})


def test_environments_need_no_torch_and_none_of_their_own_packages_until_one_is_made():
    foreign = {"bm25s", "textworld", "jericho", "textworld_express", "scienceworld", "py4j"}
    assert not loaded_by(modules_of("environments")) & (HEAVY | LEARNING | foreign)


def test_the_command_line_starts_without_anything_heavy():
    assert not loaded_by(["genrm_rl.cli"]) & (HEAVY | LEARNING)


def test_judgments_are_read_without_ray_an_engine_or_torch():
    assert not loaded_by(modules_of("reading")) & (HEAVY | LEARNING)


def test_people_label_without_ray_an_engine_or_torch():
    assert not loaded_by([*modules_of("labelling"), "genrm_rl.closed_loop.label_command"]) & (HEAVY | LEARNING)


def test_importing_the_model_package_loads_no_engine():
    assert not loaded_by(modules_of("models")) & (HEAVY | LEARNING)


@pytest.mark.parametrize("package", sorted(HOMES))
def test_each_foreign_engine_has_one_home(package):
    importers = {relative(path) for path in SOURCES if package in imported_roots(path)}
    assert importers, f"nothing imports {package}: does this test still look in the right place?"
    assert all(importer.startswith(HOMES[package]) for importer in importers), importers


@pytest.mark.parametrize("package", ["preferences", "judging", "algorithms", "config", "rewards", "environments"])
def test_pure_packages_know_of_hosts_only_their_types(package):
    hosts = {"rollout", "learners", "bootstrap", "evaluation", "models", "runtime", "serving"}
    allowed = {"genrm_rl.rollout.types", "genrm_rl.runtime.storage"}
    for path in (path for path in SOURCES if relative(path).startswith(f"genrm_rl/{package}/")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genrm_rl."):
                part = node.module.split(".")[1]
                assert part not in hosts or node.module in allowed, f"{relative(path)}: {node.module}"


def test_no_file_runs_code_of_a_model_repository():
    pattern = re.compile(r"trust_remote_code[\"']?\s*[=:]\s*(?!False)")
    assert [relative(path) for path in SOURCES if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_files_stay_short():
    lines = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: count for path, count in lines.items() if count > LONGEST_FILE} == {}
