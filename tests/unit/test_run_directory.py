"""Run directories: stages are computed once, unfinished ones again, and nobody mixes two configurations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import free_settings, identity
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import ConfigError, RunDirectoryError
from genrm_rl.learners.layout import check_layout, state_layout
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, publish_directory, write_atomic, write_json


def config(tmp_path, *words: str) -> RunConfig:
    return load_config(RunConfig, None, ["--run.root", str(tmp_path), "--run.id", "r", *words])


def start(tmp_path) -> Path:
    with RunDirectory(config(tmp_path)) as run:
        run.claim()
    return run.path


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


def test_a_setting_that_is_newer_than_the_run_does_not_refuse_it(tmp_path):
    """As after an update: the record knows nothing of it."""
    run = start(tmp_path)
    recorded = yaml.safe_load((run / "config.yaml").read_text())
    del recorded["bootstrap"]["direct"]["evaluate_every"]
    (run / "config.yaml").write_text(yaml.safe_dump(recorded))
    provenance = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps(provenance | {"config_hash": "of an older version"}))
    with RunDirectory(config(tmp_path)) as again:
        assert again.resumed and again.hash == "of an older version"
    with pytest.raises(RunDirectoryError, match=r"other settings \(bootstrap\.direct\.evaluate_every\)"):
        RunDirectory(config(tmp_path, "--bootstrap.direct.evaluate-every", "5"))


def test_a_run_that_computed_nothing_binds_nobody(tmp_path):
    with RunDirectory(config(tmp_path)):
        pass
    with RunDirectory(config(tmp_path, "--bootstrap.iterations", "2")) as run:
        run.stage("s", lambda directory: {})
    with pytest.raises(RunDirectoryError, match="other settings"):
        RunDirectory(config(tmp_path))


@pytest.mark.parametrize(
    "words",
    [
        ("--rollout.engines", "3", "--rollout.kv-cache-gib", "2", "--rollout.gpu-memory-utilization", "0.5"),
        ("--rollout.deadline", "5", "--tracking.tensorboard", "false", "--model.cache-dir", "elsewhere"),
        ("--learner.tokens-per-microbatch", "2048", "--learner.gradient-checkpointing", "true"),
        ("--learner.offload", "optimizer", "--learner.workers", "2", "--learner.zero-stage", "2"),
        ("--learner.checkpoint-every", "7", "--learner.keep-checkpoints", "1", "--learner.stall-deadline", "9"),
    ],
)
def test_memory_speed_deadlines_and_checkpoints_may_change_between_a_crash_and_its_resume(tmp_path, words):
    start(tmp_path)
    with RunDirectory(config(tmp_path, *words)) as run:
        assert run.resumed


@pytest.mark.parametrize(
    "words",
    [
        ("--learner.precision", "float32"),
        ("--learner.lora-rank", "8"),
        ("--learner.max-grad-norm", "2"),
        ("--model.dtype", "bfloat16"),
        ("--judge.votes", "3"),
        ("--evaluation.pairs", "9"),
    ],
)
def test_what_decides_a_result_binds_the_run(tmp_path, words):
    start(tmp_path)
    with pytest.raises(RunDirectoryError, match=words[0].removeprefix("--").replace("-", "_")):
        RunDirectory(config(tmp_path, *words))


def test_every_section_declares_its_free_settings_and_jobs_that_hold_others_follow():
    free = set(free_settings(RunConfig))
    assert {"run.root", "rollout", "tracking", "learner.tokens_per_microbatch"} <= free
    assert {f"judge.{name}" for name in free} | {
        "turns",
        "policy.checkpoint_every",
        "policy.serving.max_replicas",
    } <= set(free_settings(LoopConfig))
    kept = identity(AlignConfig())
    assert "rollout" not in kept and "url" not in kept["reward"]
    assert kept["reward"]["rule"] and "checkpoint" in kept["serving"] and kept["ppo"]["steps"]


def test_a_sharded_state_is_refused_by_other_workers_with_the_way_out(tmp_path):
    written = LearnerConfig(workers=2, zero_stage=2)
    check_layout(tmp_path, {"layout": state_layout(written)}, written.model_copy(update={"tokens_per_microbatch": 64}))
    with pytest.raises(ConfigError, match=r"2 workers at ZeRO stage 2, .* among 1 at stage 2; set learner\.workers"):
        check_layout(tmp_path, {"layout": state_layout(written)}, written.model_copy(update={"workers": 1}))
    whole = LearnerConfig(workers=2, precision="float32")
    check_layout(tmp_path, {"layout": state_layout(whole)}, whole.model_copy(update={"workers": 1}))


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
