"""Run directories: stages are computed once, unfinished ones again, and nobody mixes two configurations."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, publish_directory, write_atomic, write_json


def config(tmp_path, *words: str) -> RunConfig:
    return load_config(RunConfig, None, ["--run.root", str(tmp_path), "--run.id", "r", *words])


def start(tmp_path) -> None:
    with RunDirectory(config(tmp_path)) as run:
        run.claim()


def test_a_stage_is_computed_once(tmp_path):
    calls = []

    def compute(directory):
        calls.append(directory)
        (directory / "x").write_text("1")
        return {"answer": 42}

    for _ in range(2):
        with RunDirectory(config(tmp_path)) as run:
            assert (run.stage("a/b", compute) / "x").read_text() == "1"
            assert run.manifest("a/b")["answer"] == 42
    assert len(calls) == 1


def test_a_stage_that_failed_leaves_nothing_that_looks_finished(tmp_path):
    def broken(directory):
        (directory / "half").write_text("half")
        raise OSError("disk full")

    with RunDirectory(config(tmp_path)) as run:
        with pytest.raises(OSError, match="disk full"):
            run.stage("s", broken)
        assert not run.done("s")
        assert not (run.stage("s", lambda directory: {}) / "half").exists()


def test_other_settings_are_refused_and_named(tmp_path):
    start(tmp_path)
    with pytest.raises(
        RunDirectoryError, match=r"other settings \(bootstrap\.iterations\); give the new settings another --run\.id"
    ):
        RunDirectory(config(tmp_path, "--bootstrap.iterations", "2"))


def test_a_run_that_computed_nothing_binds_nobody(tmp_path):
    with RunDirectory(config(tmp_path)):
        pass
    with RunDirectory(config(tmp_path, "--bootstrap.iterations", "2")) as run:
        run.stage("s", lambda directory: {})
    with pytest.raises(RunDirectoryError, match="other settings"):
        RunDirectory(config(tmp_path))


def test_settings_that_change_no_result_may_change(tmp_path):
    start(tmp_path)
    with RunDirectory(config(tmp_path, "--rollout.deadline", "5", "--tracking.tensorboard", "false")) as run:
        assert run.resumed


def test_two_drivers_cannot_own_one_run(tmp_path):
    with RunDirectory(config(tmp_path)):
        code = (
            "import sys; from genrm_rl.config import RunConfig; from genrm_rl.config.loading import load_config\n"
            "from genrm_rl.runtime.run_directory import RunDirectory\n"
            "RunDirectory(load_config(RunConfig, None, sys.argv[1:]))"
        )
        words = ["--run.root", str(tmp_path), "--run.id", "r"]
        other = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert other.returncode != 0
    assert "is being driven by process" in other.stderr


def test_a_replaced_directory_is_whole(tmp_path):
    for value in ("old", "new"):
        with publish_directory(tmp_path / "d", {}) as partial:
            (partial / value).write_text(value)
    assert is_complete(tmp_path / "d")
    assert [path.name for path in (tmp_path / "d").iterdir() if path.name[0] != "_"] == ["new"]


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_atomic_write_keeps_the_old_file_if_it_fails(tmp_path):
    path = write_atomic(tmp_path / "f", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
