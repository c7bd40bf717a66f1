"""Supervised fits under Ray Train: ``fit(FitSpec) -> FitResult``.

The driver imports neither torch's training stack nor DeepSpeed: it checks the inputs, starts a ``TorchTrainer``, shows
progress, and reads the result from the manifest. A fit owns a hidden state directory beside its output, with the events
of every attempt and the checkpoints inside the fit. Whoever calls ``fit`` again with a spec that computes the same,
after a kill of a worker, of all workers, or of the driver itself, continues from there, also with other settings of
memory and speed; a finished fit is returned as it is. States of other specs at the same output go when it is finished,
not before.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genrm_rl.config.base import identity
from genrm_rl.config.model import FitConfig, LearnerConfig
from genrm_rl.errors import ConfigError, DataError, EnvironmentProblem, GenRMError, RunDirectoryError
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.events import FitEvents, FitProgress
from genrm_rl.learners.examples import read_examples, sequences
from genrm_rl.learners.objectives import ObjectiveKind, check_objective_fits
from genrm_rl.models.inspection import ModelFacts, inspect_directory
from genrm_rl.runtime.storage import file_hash, is_complete, read_json, read_manifest, remove_tree
from genrm_rl.runtime.store_paths import stored
from placement.roles import learner_bundle

HISTORY_FILE = "fit_history.jsonl"
# Ray Train polls its workers every 2 s by default, which is seen as a delay at the end of every fit.
TRAIN_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
PROGRESS_INTERVAL = 0.5  # seconds between two looks at the events


class FitFailed(GenRMError):
    """A fit did not finish although it was restarted as often as allowed."""


@dataclass(frozen=True)
class FitSpec:
    """What a fit computes. Paths must be readable (``output_dir`` writable) on every node that holds a worker."""

    objective: ObjectiveKind
    model_dir: str | Path
    examples_path: str | Path
    output_dir: str | Path
    fit: FitConfig
    learner: LearnerConfig
    seed: int = 0
    parent_version: str | None = None
    config_hash: str = ""
    data_hashes: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    points: PointTokens | None = None  # of the objective `points`
    held_out_path: str | Path | None = None  # examples that `fit.evaluate_every` measures the loss on

    @property
    def title(self) -> str:
        """What the progress bar calls this fit."""
        return self.name or Path(self.output_dir).name

    def digest(self) -> str:
        """Hash of everything that decides the result, so not of workers, memory or speed; names the state directory."""
        facts = {
            "objective": self.objective,
            "model": _model_identity(Path(self.model_dir)),
            "examples": file_hash(self.examples_path),
            "fit": self.fit.model_dump(mode="json"),
            "learner": identity(self.learner),
            "seed": self.seed,
        }
        if self.points is not None:
            facts["points"] = asdict(self.points)
        if self.held_out_path is not None:
            facts["held_out"] = file_hash(self.held_out_path)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def state_dir(self) -> Path:
        """Where this fit keeps its events and checkpoints until it is finished."""
        output = Path(self.output_dir).resolve()
        return output.with_name(f".{output.name}.fit") / self.digest()[:12]


@dataclass(frozen=True)
class FitResult:
    """A finished fit. ``seconds`` by phase: launch, imports, load, reference, train, checkpoint, save, end, total.

    ``start`` in ``seconds`` is what passed from the call to the first step without the reference pass. ``history`` has
    one row per optimizer step: step, loss, learning_rate, grad_norm, tokens, seconds, and the objective's metrics; a
    skipped step has no loss, norm or metrics, but ``skipped``.
    """

    output_dir: Path
    version: str
    steps: int
    tokens: int
    final_loss: float
    history: tuple[dict[str, float], ...]
    seconds: dict[str, float]
    restarts: int

    @property
    def tokens_per_second(self) -> float:
        """Trained tokens over the seconds inside optimizer steps."""
        return self.tokens / max(self.seconds["train"], 1e-9)


def fit(spec: FitSpec, *, progress: Callable[[FitProgress], None] | None = None, show: bool = True) -> FitResult:
    """Run a fit to its end, or return it if it is complete.

    ``progress`` is called about twice a second from a thread; ``show`` draws a progress bar on stderr. Needs a
    connected Ray. Raises DataError or ModelError for inputs that can't be trained on (before anything is started),
    RunDirectoryError if ``output_dir`` holds the result of another fit, TrainingError if losses are not finite,
    FitFailed after ``learner.max_failures`` restarts.
    """
    called = time.time()
    check_fit(spec)
    output = Path(spec.output_dir)
    if is_complete(output):
        return _finished(spec, output)
    state_dir = spec.state_dir()
    state_dir.mkdir(parents=True, exist_ok=True)
    events = FitEvents(state_dir)
    with events.watching(spec.title, progress, show=show, interval=PROGRESS_INTERVAL):
        _run_trainer(spec, state_dir, called)
    refusal = events.refusal()
    if refusal is not None:
        raise refusal
    if not is_complete(output):
        raise FitFailed(f"the fit {spec.title} ended without a checkpoint; its events are in {state_dir}")
    remove_tree(state_dir.parent)
    result = load_result(output)
    end = max(0.0, time.time() - read_manifest(output)["finished"])
    return FitResult(**{**result.__dict__, "seconds": result.seconds | {"end": end, "total": time.time() - called}})


def load_result(output_dir: str | Path) -> FitResult:
    """The result of a finished fit, from its directory."""
    output = Path(output_dir)
    manifest = read_manifest(output)
    history = [json.loads(line) for line in (output / HISTORY_FILE).read_text(encoding="utf-8").splitlines()]
    return FitResult(
        output_dir=output,
        version=manifest["version"],
        steps=manifest["steps"],
        tokens=manifest["trained_tokens"],
        final_loss=manifest["final_loss"],
        history=tuple(history),
        seconds=manifest["seconds_by_phase"],
        restarts=manifest["restarts"],
    )


def check_fit(spec: FitSpec) -> None:
    """Everything that can be known to be wrong before a worker starts. Raises ConfigError, DataError, ModelError."""
    unused = spec.fit.unused_by(spec.objective)
    if unused:
        raise ConfigError(f"objective {spec.objective} has no {unused}; leave it at 0")
    if spec.fit.evaluate_every and spec.held_out_path is None:
        raise ConfigError("evaluate_every measures on held-out examples, and this fit has none; set it to 0")
    facts = inspect_directory(Path(spec.model_dir))
    for path in filter(None, (spec.examples_path, spec.held_out_path)):
        _check_examples(spec, path, facts)


def _check_examples(spec: FitSpec, path: str | Path, facts: ModelFacts) -> None:
    """Each example is read, and checked as it is, before a worker starts."""
    examples = read_examples(path)
    check_objective_fits(spec.objective, examples, str(path))
    longest = facts.max_position
    for index, example in enumerate(examples):
        where = f"{path}: example {index} ({example.id or 'no id'})"
        for ids in sequences(example):
            if max(ids) >= facts.vocab_size or min(ids) < 0:
                raise DataError(
                    f"{where} has token id {max(ids)}, outside the {facts.vocab_size} tokens of {spec.model_dir}; "
                    "tokenise the examples with that model's tokenizer"
                )
            if longest is not None and len(ids) > longest:
                raise DataError(
                    f"{where} has {len(ids)} tokens, more than the {longest} positions of {spec.model_dir}; "
                    "leave it out or choose a model with a longer context"
                )


def _run_trainer(spec: FitSpec, state_dir: Path, called: float) -> None:
    for name, value in TRAIN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from genrm_rl.learners.fit_worker import train_loop
    from genrm_rl.learners.process_group import ProcessGroupConfig

    if not ray.is_initialized():
        raise EnvironmentProblem("a fit needs a connected Ray; wrap the call in genrm_rl.runtime.session.ray_session()")
    learner = spec.learner
    cuda = learner.gpus_per_worker > 0
    _wait_for_nodes(learner)
    kept = stored(state_dir)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"spec": _absolute(spec), "state_dir": str(state_dir), "called": called},
        torch_config=ProcessGroupConfig(backend="nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=learner.workers,
            use_gpu=cuda,
            resources_per_worker=learner_bundle(learner),
            label_selector={"pool": learner.pool} if learner.pool else None,
        ),
        run_config=RunConfig(
            name="ray-train",
            storage_path=kept.path if kept else str(state_dir),
            storage_filesystem=kept.filesystem if kept else None,
            failure_config=FailureConfig(max_failures=learner.max_failures, controller_failure_limit=3),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        last = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise FitFailed(
            f"the fit {spec.title} failed more often than learner.max_failures ({learner.max_failures}): "
            f"{last.strip()}; its events are in {state_dir}, and a repeated call continues from its last checkpoint"
        ) from error


def _wait_for_nodes(learner: LearnerConfig) -> None:
    """On a cluster that grows, see the nodes come before Ray Train starts, which would wait without a word and give up.

    Ray Train makes a group of its own at once after; the nodes stay for at least their idle time-out.
    """
    from placement.room import on_a_cluster

    if not on_a_cluster():
        return
    from ray.util.placement_group import remove_placement_group

    from genrm_rl.runtime.console import people_console
    from placement.acquire import Request, acquire

    request = Request("fit", learner.workers, learner_bundle(learner), learner.pool, "learner.workers")
    say = people_console(stderr=True).print
    remove_placement_group(acquire(request, deadline=learner.placement_deadline, grows=True, say=say))


def _finished(spec: FitSpec, output: Path) -> FitResult:
    made_by = read_manifest(output).get("digest")
    if made_by != spec.digest():
        raise RunDirectoryError(
            f"{output} holds the result of another fit (other data, model, settings or seed); "
            "remove it or choose another output directory"
        )
    remove_tree(spec.state_dir().parent)
    return load_result(output)


def _absolute(spec: FitSpec) -> FitSpec:
    """Ray Train changes the workers' working directory."""
    names = ("model_dir", "examples_path", "output_dir", *(("held_out_path",) if spec.held_out_path else ()))
    paths = {name: str(Path(getattr(spec, name)).resolve()) for name in names}
    return FitSpec(**{**spec.__dict__, **paths, "data_hashes": dict(spec.data_hashes)})


def _model_identity(path: Path) -> Any:
    """What tells one model from another without reading its weights: the manifest, or names, sizes and config."""
    if is_complete(path):
        manifest = read_manifest(path)
        return manifest.get("version") or manifest
    files = {file.name: file.stat().st_size for file in sorted(path.glob("*.safetensors"))}
    return {"files": files, "config": read_json(path / "config.json")}
