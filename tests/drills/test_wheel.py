"""A built wheel works outside of a checkout, on every Python: entry point, shipped configurations, pages, the tiny
model, the doctor, an evaluation.

Beside the Python of the tests, ``GENRM_RL_PYTHONS`` names others by path, separated by colons, of environments that
hold the packages of the lock (CONTRIBUTING.md).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("genrm_rl", "placement", "jobs")
FILES = ("pyproject.toml", "README.md", "LICENSE")
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
LACKS = "from importlib.util import find_spec; print(*[n for n in ('ray', 'torch', 'vllm') if find_spec(n) is None])"


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


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter of each version that has the packages; the test is skipped where there is none."""
    named = filter(None, os.environ.get("GENRM_RL_PYTHONS", "").split(":"))
    found = [path for path in (sys.executable, *named) if said_by(path, VERSION) == request.param]
    if not found:
        pytest.skip(f"no Python {request.param} is named in GENRM_RL_PYTHONS")
    if lacks := said_by(found[0], LACKS):
        pytest.skip(f"{found[0]} lacks {lacks}")
    return found[0]


def said_by(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run(python: str, words: str, installed: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """``genrm-rl WORDS`` of the wheel, in ``folder``."""
    command = [python, str(installed / "bin" / "genrm-rl"), *shlex.split(words)]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


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
        ("doctor", "everything that is needed is here"),
    ],
)
def test_its_commands_run_from_any_folder(words: str, said: str, python: str, installed: Path, tmp_path: Path) -> None:
    done = run(python, words, installed, tmp_path)
    assert done.returncode == 0 and said in done.stdout, done.stdout + done.stderr
    where = subprocess.run(
        [python, "-c", "import genrm_rl; print(genrm_rl.__file__)"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)},
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))


def test_it_evaluates_the_shipped_judge(python: str, installed: Path, tmp_path: Path) -> None:
    words = (
        "evaluate llm_judge --config jobs/configs/bootstrap_tiny.yaml --run.id base "
        "--data.test '[{world: gate, limit: 20}]'"
    )
    done = run(python, words, installed, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("runs/base/evaluation/**/_COMPLETE.json")), done.stdout


def test_it_trains_or_says_at_once_which_python_can(python: str, installed: Path, tmp_path: Path) -> None:
    if said_by(python, "from importlib.util import find_spec; print(find_spec('openrlhf') is not None)") == "True":
        pytest.skip("this Python can train; the other tests do")
    done = run(python, "bootstrap --config jobs/configs/bootstrap_tiny.yaml", installed, tmp_path)
    assert done.returncode == 2 and "training needs Python 3.11 or 3.12" in done.stderr, done.stdout + done.stderr
    assert not (tmp_path / "runs").exists()
