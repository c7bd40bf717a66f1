"""The layers of the design, checked on the source and on what an import really pulls in."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
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
# The one order, highest first: a package imports from rows below its own alone, also inside of functions. Packages of
# one row know nothing of each other. docs/architecture.md shows the same rows.
ORDER = [
    ("jobs",),
    ("cli",),  # and what only it uses, see CLI
    ("selftest", "simulation", "reading", "pages"),
    ("stories",),
    ("closed_loop", "agents"),
    ("bootstrap", "alignment", "labelling"),
    ("serving", "evaluation"),
    ("learners",),
    ("rollout",),
    ("models",),
    ("placement", "environments"),
    ("rewards",),
    ("judging", "algorithms"),
    ("preferences",),
    ("runtime",),
    ("config",),
    ("errors", "choices", "generation"),
]
CLI = re.compile(r"cli(_\w+)?|dry_run|settings_help")
LONGEST_FILE, LONGEST_STORY, LONGEST_FUNCTION = 300, 100, 60  # lines


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def modules_of(package: str) -> list[str]:
    return [module_name(path) for path in SOURCES if relative(path).startswith(f"genrm_rl/{package}/")]


def package_of(module: str) -> str:
    """The row's word for a module: ``genrm_rl.serving.app`` is of serving, ``jobs.close_loop`` of jobs."""
    first, _, rest = module.partition(".")
    package = (rest if first == "genrm_rl" else first).partition(".")[0]
    return "cli" if CLI.fullmatch(package) else package


@cache
def imports() -> dict[str, set[str]]:
    """The project's modules that each of them imports, at its top or in a function; for type checkers alone: no."""
    files = {module_name(path): path for path in SOURCES}
    found = {}
    for module, path in files.items():
        found[module] = set()
        for node in running(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{relative(path)}: import by the whole name"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found[module] |= {name if name in files else str(node.module) for name in names}
        found[module] = {name for name in found[module] if name in files and name != module}
    return found


def running(tree: ast.AST):
    """All nodes below ``tree`` but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from running(node)


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


def test_arrows_between_packages_run_down_the_one_order():
    row = {package: number for number, packages in enumerate(ORDER) for package in packages}
    known = {module for module in imports() if module != "genrm_rl"}
    assert {package_of(module) for module in known} == set(row), "a package without a place in ORDER, or the reverse"
    assert [
        f"{module} imports {other}"
        for module in known
        for other in imports()[module] & known
        if package_of(module) != package_of(other) and row[package_of(module)] >= row[package_of(other)]
    ] == []


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(imports()).prepare()  # CycleError names the circle


def test_the_map_shows_the_one_order():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page.partition("\n## Layers\n")[2].split("```")[1]
    shown = [tuple(line.partition("  ")[0].split(", ")) for line in block.strip().splitlines()]
    assert shown == ORDER


def test_no_file_runs_code_of_a_model_repository():
    pattern = re.compile(r"trust_remote_code[\"']?\s*[=:]\s*(?!False)")
    assert [relative(path) for path in SOURCES if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_files_and_functions_stay_short():
    too_long = {}
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        longest = LONGEST_STORY if "stories" in path.parts else LONGEST_FILE
        lengths = {relative(path): (len(text.splitlines()), longest)}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{relative(path)}:{node.lineno} {node.name}"
                lengths[name] = (node.end_lineno - node.lineno + 1, LONGEST_FUNCTION)
        too_long |= {name: lines for name, (lines, most) in lengths.items() if lines > most}
    assert too_long == {}
