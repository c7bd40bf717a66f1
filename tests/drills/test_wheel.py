"""A built wheel works outside of a checkout: entry point, shipped configurations, pages, the tiny model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("genrm_rl", "placement", "jobs")
FILES = ("pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel unpacked in it."""
    work = tmp_path_factory.mktemp("wheel")
    for folder in CODE:
        shutil.copytree(ROOT / folder, work / "source" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, work / "source")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(work), str(work / "source")], check=True
    )
    subprocess.run([*pip, "install", "--no-deps", "--target", str(work / "packages"), *work.glob("*.whl")], check=True)
    shutil.rmtree(work / "source")
    return work / "packages"


def test_the_wheel_holds_every_file_that_is_no_code(installed: Path) -> None:
    for folder in ("genrm_rl", "placement", "jobs/configs"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                assert (installed / file.relative_to(ROOT)).is_file(), file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("quickstart --dry-run", "judge.data.train.0.limit 300"),
        ("bootstrap --config jobs/configs/bootstrap_tiny.yaml --data.train.0.limit 50 --dry-run", "star_dpo"),
        ("plan", "nodes of"),
        ("models", "shipped with genrm_rl"),
    ],
)
def test_its_commands_run_from_any_folder(words: str, said: str, installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(installed / "bin" / "genrm-rl"), *words.split()]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr
    where = subprocess.run(
        [sys.executable, "-c", "import genrm_rl; print(genrm_rl.__file__)"],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
