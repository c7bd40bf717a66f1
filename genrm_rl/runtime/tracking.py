"""Metric sinks: TensorBoard event files by default, Weights & Biases and MLflow when installed and asked for.

Names follow ``area/quantity_unit`` (``gate/accuracy_strict``, ``sample/completion_tokens``). A number that is not
finite is refused here, so that a failure can't hide in a curve; a metric that does not exist is simply not logged.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from genrm_rl.config import TrackingConfig
from genrm_rl.errors import EnvironmentProblem

Metrics = Mapping[str, float | int | None]


class MetricSink(Protocol):
    """Somewhere that numbers go."""

    def log(self, metrics: Metrics, step: int) -> None:
        """Record metrics at a step; None values are left out."""

    def close(self) -> None:
        """Flush and release; no ``log`` afterwards."""


class TensorBoardSink:
    """Event files under ``directory``, for ``tensorboard --logdir``."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # torch takes seconds to import

        self._writer = SummaryWriter(log_dir=str(directory))

    def log(self, metrics: Metrics, step: int) -> None:
        for name, value in metrics.items():
            if value is not None:
                self._writer.add_scalar(name, value, global_step=step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbSink:
    """One Weights & Biases run, continued under the same id when the job is resumed."""

    def __init__(self, project: str, run_id: str, directory: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=project, id=run_id, name=run_id, resume="allow", dir=str(directory), config=dict(config)
        )

    def log(self, metrics: Metrics, step: int) -> None:
        self._run.log({**_present(metrics), "step": step})

    def close(self) -> None:
        self._run.finish()


class MLflowSink:
    """One MLflow run of an experiment; the tracking server is MLflow's own setting."""

    def __init__(self, experiment: str, run_id: str) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(experiment)
        mlflow.start_run(run_name=run_id)

    def log(self, metrics: Metrics, step: int) -> None:
        self._mlflow.log_metrics(_present(metrics), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class FanOut:
    """Sends every metric to every sink, after checking it."""

    def __init__(self, sinks: tuple[MetricSink, ...]) -> None:
        self.sinks = sinks

    def log(self, metrics: Metrics, step: int) -> None:
        """Raises ValueError for NaN or infinity, naming the metric."""
        for name, value in metrics.items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"metric {name} at step {step} is {value}; log None for what does not exist")
        for sink in self.sinks:
            sink.log(metrics, step)

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # one sink that fails to close must not keep the others open
            for sink in self.sinks:
                stack.callback(sink.close)


def check_sinks(config: TrackingConfig) -> None:
    """Raise EnvironmentProblem naming a package that a configured sink needs and that is not installed."""
    for module, wanted in (("wandb", config.wandb_project), ("mlflow", config.mlflow_experiment)):
        if wanted is not None and importlib.util.find_spec(module) is None:
            setting = {"wandb": "wandb_project", "mlflow": "mlflow_experiment"}[module]
            raise EnvironmentProblem(
                f"tracking.{setting} is set, but {module} is not installed; `pip install {module}` or unset it"
            )


@contextlib.contextmanager
def open_sinks(
    config: TrackingConfig, run_dir: str | Path, run_id: str, run_config: Mapping[str, Any]
) -> Iterator[MetricSink]:
    """The configured sinks as one, closed at the end. Raises EnvironmentProblem as :func:`check_sinks` does."""
    check_sinks(config)
    sinks: list[MetricSink] = []
    name = config.run_name or run_id
    try:
        if config.tensorboard:
            sinks.append(TensorBoardSink(Path(run_dir) / "tensorboard"))
        if config.wandb_project is not None:
            sinks.append(WandbSink(config.wandb_project, name, Path(run_dir), run_config))
        if config.mlflow_experiment is not None:
            sinks.append(MLflowSink(config.mlflow_experiment, name))
        yield FanOut(tuple(sinks))
    finally:
        FanOut(tuple(sinks)).close()


def _present(metrics: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if value is not None}
