"""`genrm-rl status`: what a run directory says about itself, with and without a driver."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.cli_report import show_report
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.results import result_of
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.status import read_status, show_status
from genrm_rl.runtime.storage import MARKER, write_json


def config(root: Path) -> AlignConfig:
    return load_config(AlignConfig, None, ["--run.root", str(root), "--run.id", "job", "--ppo.steps", "5"])


def work(run: RunDirectory, step: int) -> None:
    """One step as the PPO loop leaves it."""
    run.stage(f"steps/{step:05d}/rollout", lambda folder: {"masked": {"deadline": step}})
    write_json(run.path / f"steps/{step:05d}/metrics.json", {"reward/mean": 0.25 * step, "seconds/step": 8.0})


def shown(run: str, root: Path) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show_status(read_status(run, str(root)), console)
    return console.export_text()


def test_a_running_job_names_its_driver_its_step_and_the_time_left(tmp_path):
    with RunDirectory(config(tmp_path)) as run:
        run.claim()
        run.stage("evaluation/00000", lambda folder: {})
        work(run, 1)
        work(run, 2)
        text = shown("job", tmp_path)
    assert f"being driven by process {os.getpid()}" in text
    assert "step 2 of 5, 8.0 s each, about 24 s left" in text
    assert "reward/mean: 0.5" in text
    assert "masked answers so far: 3 deadline" in text
    assert "complete stages: 1" in text


def test_a_dead_driver_is_said_with_the_way_to_go_on(tmp_path):
    with RunDirectory(config(tmp_path)) as run:
        run.claim()
    text = shown(str(tmp_path / "job"), tmp_path)
    assert "nobody drives it" in text
    assert "submit it again with the same --run.id" in text


def test_a_finished_run_is_finished(tmp_path):
    with RunDirectory(config(tmp_path)) as run:
        run.claim()
        (run.path / "report.html").write_text("<p>", encoding="utf-8")
    assert "finished; see report.html" in shown("job", tmp_path)


def made(folder: Path, settings: dict[str, object], *files: str) -> Path:
    """A run directory with settings and files."""
    for file in ("config.yaml", *files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(settings if file == "config.yaml" else {}), encoding="utf-8")
    return folder


def test_each_kind_of_run_is_finished_by_what_it_writes_last(tmp_path):
    loop = made(tmp_path / "loop", {"turns": 2}, "report.html", f"turn1/stages/gate/{MARKER}")
    assert result_of(loop) is None, "the page of a loop is there while people label"
    made(loop, {"turns": 2}, f"turn2/stages/gate/{MARKER}")
    assert result_of(loop) == "report.html"
    assert result_of(made(tmp_path / "judged", {}, "results.json")) == "results.json"
    assert result_of(made(tmp_path / "acted", {}, "agents.json")) == "agents.json"
    assert result_of(made(tmp_path / "cloned", {}, f"policy/{MARKER}")) == "policy"
    assert result_of(made(tmp_path / "chosen", {}, f"best_of/x/winners/{MARKER}")) == "best_of/x/winners"
    played = {"tasks": {}, "ppo": {"steps": 2}}
    episodes = made(tmp_path / "played", played, f"steps/00000/episodes/{MARKER}")
    assert result_of(episodes) is None
    assert result_of(made(episodes, played, f"steps/00001/episodes/{MARKER}")) == "steps"
    learning = made(tmp_path / "aligned", {}, f"policy/{MARKER}", "steps/00000/metrics.json")
    assert result_of(learning) is None, "its report comes after its policy"


def test_steps_of_a_judge_that_learns_within_a_bootstrap_are_counted(tmp_path):
    run = made(tmp_path / "job", {"bootstrap": {"verdict_rl": {"steps": 7}}}, "provenance.json")
    made(run, {"bootstrap": {"verdict_rl": {"steps": 7}}}, "methods/verdict_rl/round1/steps/00000/metrics.json")
    assert "step 1 of 7" in shown(str(run), tmp_path)


def test_a_run_without_a_result_is_said_by_report_with_the_way_to_go_on(tmp_path):
    run = made(tmp_path / "job", {})
    with pytest.raises(RunDirectoryError, match="holds no figures yet; `genrm-rl status .*job` says"):
        show_report(run, Console(file=io.StringIO()))
    with pytest.raises(RunDirectoryError, match="no run 'jib' here or in"):
        show_report(Path("jib"), Console(file=io.StringIO()), tmp_path)


def test_an_unknown_run_is_named_with_those_that_there_are(tmp_path):
    with RunDirectory(config(tmp_path)) as run:
        run.claim()
    with pytest.raises(
        RunDirectoryError, match=r"no run 'jib' in .* \(there are: job\); give its directory, or --root"
    ):
        read_status("jib", str(tmp_path))


def test_a_run_in_rays_copy_of_the_working_directory_is_refused(tmp_path, monkeypatch):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(RunDirectoryError, match="give an absolute --run.root that all nodes reach"):
        RunDirectory(config(Path("runs")))
