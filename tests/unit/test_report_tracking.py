from __future__ import annotations

import importlib.util

import pytest

from genrm_rl.config import TrackingConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.tracking import FanOut, open_sinks


def test_tensorboard_files_hold_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_sinks(TrackingConfig(), tmp_path, "run", {}) as sink:
        sink.log({"gate/accuracy_strict": 0.5, "gate/flip_rate": None}, step=1)
        sink.log({"gate/accuracy_strict": 0.75}, step=2)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["gate/accuracy_strict"]
    assert [(event.step, event.value) for event in events.Scalars("gate/accuracy_strict")] == [(1, 0.5), (2, 0.75)]


def test_a_failure_is_no_number():
    with pytest.raises(ValueError, match="train/loss at step 3 is nan"):
        FanOut(()).log({"train/loss": float("nan")}, step=3)


def test_nothing_configured_writes_nothing(tmp_path):
    with open_sinks(TrackingConfig(tensorboard=False), tmp_path, "run", {}) as sink:
        sink.log({"a": 1.0}, step=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "setting"), [("wandb", "wandb_project"), ("mlflow", "mlflow_experiment")])
def test_a_sink_that_is_not_installed_is_named(tmp_path, module, setting):
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    message = f"tracking.{setting} is set, but {module} is not installed"
    sinks = open_sinks(TrackingConfig(**{setting: "x"}), tmp_path, "run", {})
    with pytest.raises(EnvironmentProblem, match=message), sinks:
        pass


@pytest.mark.parametrize(("module", "setting"), [("wandb", "wandb_project"), ("mlflow", "mlflow_experiment")])
def test_a_sink_that_is_installed_takes_metrics(tmp_path, module, setting, monkeypatch):
    pytest.importorskip(module)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    with open_sinks(TrackingConfig(tensorboard=False, **{setting: "x"}), tmp_path, "run", {"seed": 0}) as sink:
        sink.log({"gate/accuracy_strict": 0.5, "gate/flip_rate": None}, step=1)
    assert (tmp_path / {"wandb": "wandb", "mlflow": "mlflow.db"}[module]).exists()


def test_every_sink_is_closed_even_if_one_fails():
    closed = []

    class Sink:
        def __init__(self, name: str, fails: bool) -> None:
            self.name, self.fails = name, fails

        def log(self, metrics, step):
            pass

        def close(self):
            closed.append(self.name)
            if self.fails:
                raise OSError(self.name)

    with pytest.raises(OSError, match="second"):
        FanOut((Sink("first", False), Sink("second", True))).close()
    assert sorted(closed) == ["first", "second"]
