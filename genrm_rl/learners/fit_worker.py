"""What every Ray Train worker of a fit runs: load, continue or start, step, checkpoint, save."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrm_rl.errors import GenRMError, TrainingError
from genrm_rl.learners.best_weights import BestWeights, is_due, published
from genrm_rl.learners.events import EventWriter, merged_history
from genrm_rl.learners.examples import Example, PairExample, pieces, read_examples
from genrm_rl.learners.layout import check_layout, state_layout
from genrm_rl.learners.objective import Objective
from genrm_rl.learners.objectives import HEAD_KIND, build_objective
from genrm_rl.learners.pair_objectives import PairLogprobs, ReferencedPairs
from genrm_rl.learners.schedule import batch_indices, learning_rate
from genrm_rl.learners.skips import Skips
from genrm_rl.runtime.imports import without_collections
from genrm_rl.runtime.object_store import fetch, light
from genrm_rl.runtime.storage import is_complete, read_manifest, remove_tree, write_atomic

if TYPE_CHECKING:
    from genrm_rl.learners.fit import FitSpec
    from genrm_rl.learners.learner import Learner, StepMetrics

MANIFEST_FORMAT = "genrm_rl.fit/1"
REFERENCE_FILE = "reference_logprobs.npy"
PASS_MICROBATCHES = 8  # of a worker, whose examples are in memory at once in the reference pass


def train_loop(payload: dict[str, Any]) -> None:
    """Entry point of a Ray Train worker. ``payload``: the spec, the state directory, the time of the driver's call."""
    import torch.distributed as dist

    spec: FitSpec = payload["spec"]
    state_dir = Path(payload["state_dir"])
    for path in (state_dir, Path(spec.examples_path)):
        fetch(path, light)
    events = EventWriter(state_dir) if dist.get_rank() == 0 else None
    try:
        FitRun(spec, state_dir, events, Clock(payload["called"])).run()
    except GenRMError as error:
        # A restart would not cure it: tell the driver instead of failing the worker.
        if events is not None:
            events.write("refused", error=type(error).__name__, message=str(error))
    finally:
        if events is not None:
            events.close()


class Clock:
    """Seconds by phase of this attempt, from the driver's call on (wall clock: the driver is another process)."""

    def __init__(self, called: float) -> None:
        self.called = called
        self.seconds: dict[str, float] = {"launch": time.time() - called}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the body to ``name``."""
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class FitRun:
    """One attempt at a fit, on one worker."""

    def __init__(self, spec: FitSpec, state_dir: Path, events: EventWriter | None, clock: Clock) -> None:
        self.spec, self.state_dir, self.events, self.clock = spec, state_dir, events, clock
        self.attempt = events.attempt if events is not None else 0
        self.best = BestWeights(state_dir, spec.model_dir)

    def run(self) -> None:
        """From the model on disk to the published checkpoint."""
        spec, clock = self.spec, self.clock
        with clock.phase("imports"), without_collections():
            from genrm_rl.learners.learner import Learner
        examples: Sequence[Example] = read_examples(spec.examples_path)
        held_out: Sequence[Example] = read_examples(spec.held_out_path) if spec.held_out_path else []
        batches = batch_indices(len(examples), epochs=spec.fit.epochs, batch_size=spec.fit.batch_size, seed=spec.seed)
        self._event("start", total_steps=len(batches), examples=len(examples), pids=_all_pids())
        with clock.phase("load"):
            head = HEAD_KIND[spec.objective]
            learner = Learner(spec.model_dir, spec.learner, head=head, seed=spec.seed, points=spec.points)
        self._event("ready")
        with clock.phase("reference"):
            data = self._with_reference(learner, examples)
        objective = build_objective(
            spec.objective,
            beta=spec.fit.beta,
            label_smoothing=spec.fit.label_smoothing,
            nll_coefficient=spec.fit.nll_coefficient,
            folded_margin=spec.fit.folded_margin,
        )
        first = self._restore(learner)
        self.best.restore()
        skips = Skips(spec.learner.max_skipped)
        clock.seconds["start"] = time.time() - clock.called - clock.seconds["reference"]
        for step in range(first, len(batches)):
            batch = [data[index] for index in batches[step]]
            with clock.phase("train"):
                metrics = learner.step(batch, objective, learning_rate=self._learning_rate(step, len(batches)))
            self._event("step", **step_row(step, metrics))
            skips.see(metrics, f"step {step} of the fit")
            if is_due(spec.fit.evaluate_every, step, len(batches)):
                with clock.phase("evaluate"):
                    self._evaluate(learner, objective, held_out, step)
            if self._checkpoint_due(step, len(batches)):
                with clock.phase("checkpoint"):
                    self._checkpoint(learner, step)
        if skips.total == len(batches):
            raise TrainingError(f"no step of the fit has a finite loss and gradient ({len(batches)} were skipped)")
        self._publish(learner, len(batches))
        self._event("done")
        learner.close()

    def _learning_rate(self, step: int, total: int) -> float:
        config = self.spec.learner
        return learning_rate(
            step,
            total_steps=total,
            peak=self.spec.fit.learning_rate,
            warmup_ratio=config.warmup_ratio,
            schedule=config.schedule,
        )

    def _with_reference(self, learner: Learner, examples: Sequence[Any]) -> Sequence[Any]:
        """DPO needs log-probabilities of the starting weights; they are made once and kept with the fit's state."""
        if self.spec.objective != "dpo":
            return examples
        file = self.state_dir / REFERENCE_FILE
        if file.is_file():
            reference_B2 = np.load(file, allow_pickle=False)
        else:
            reference_B2 = self._reference_sums(learner, examples)
            if self.events is not None:
                _write_array(file, reference_B2)
        return ReferencedPairs(examples, reference_B2)

    def _reference_sums(self, learner: Learner, pairs: Sequence[PairExample]) -> np.ndarray:
        """Summed log-probabilities of both completions [B, 2], some microbatches of each worker at a time."""
        config = self.spec.learner
        tokens = PASS_MICROBATCHES * config.workers * config.tokens_per_microbatch
        sums = [
            learner.summed_logprobs([segment for pair in piece for segment in PairLogprobs().segments(pair)])
            for piece in pieces(pairs, tokens)
        ]
        return np.concatenate(sums).reshape(-1, 2)

    def _evaluate(self, learner: Learner, objective: Objective, held_out: Sequence[Any], step: int) -> None:
        """Measure the loss on held-out examples; the best weights are kept."""
        loss, metrics = learner.evaluate(held_out, objective)
        self._event("evaluation", step=step, **held_out_row(loss, metrics))
        self.best.see(learner, step, loss)

    def _checkpoint_due(self, step: int, total: int) -> bool:
        return step + 1 < total and is_due(self.spec.learner.checkpoint_every, step, total)

    def _checkpoint(self, learner: Learner, step: int) -> None:
        """Weights and optimizer after ``step``: every worker writes its part, worker 0 marks the whole complete."""
        from genrm_rl.learners.state_upload import move_state

        target = self.state_dir / f"step-{step + 1:07d}"
        if self.events is not None:
            self.events.store()  # a successor that starts at this state needs the history up to it
        facts = {"step": step + 1, "digest": self.spec.digest(), "layout": state_layout(self.spec.learner)}
        with published(learner, target, facts) as directory:
            learner.save_state(directory, "state", {"step": step + 1})
            move_state(directory, "state", learner.rank)
        if self.events is not None:
            for old in complete_states(self.state_dir)[: -self.spec.learner.keep_checkpoints]:
                remove_tree(old)
        self._event("checkpoint", step=step)

    def _restore(self, learner: Learner) -> int:
        """Continue from the newest complete state; returns the next step."""
        states = complete_states(self.state_dir)
        if not states:
            return 0
        check_layout(states[-1], read_manifest(states[-1]), self.spec.learner)
        return int(learner.load_state(states[-1], "state")["step"])

    def _publish(self, learner: Learner, steps: int) -> None:
        """The result: HF checkpoint, history, manifest."""
        spec, manifest = self.spec, self._manifest(steps) if self.events is not None else {}
        with published(learner, Path(spec.output_dir), manifest) as directory:
            started = time.perf_counter()
            if not self.best.facts:
                learner.save(directory, spec.model_dir)
            elif self.events is not None:
                self.best.copy_to(directory)
            if self.events is not None:
                write_jsonl(directory / "fit_history.jsonl", merged_history(self.state_dir))
                self.clock.seconds["save"] = time.perf_counter() - started
                self.clock.seconds["total"] = time.time() - self.clock.called
                manifest["seconds_by_phase"] = {name: round(value, 3) for name, value in self.clock.seconds.items()}
                manifest["seconds"] = manifest["seconds_by_phase"]["total"]
                manifest["finished"] = time.time()

    def _manifest(self, steps: int) -> dict[str, Any]:
        spec, history = self.spec, merged_history(self.state_dir)
        digest = spec.digest()
        return {
            "format": MANIFEST_FORMAT,
            "version": f"{spec.objective}-{digest[:12]}",
            "objective": spec.objective,
            "parent": {"path": str(spec.model_dir), "version": spec.parent_version},
            "digest": digest,
            "config_hash": spec.config_hash,
            "data_hashes": dict(spec.data_hashes),
            "seed": spec.seed,
            "fit": spec.fit.model_dump(mode="json"),
            "learner": spec.learner.model_dump(mode="json"),
            "versions": versions(),
            "steps": steps,
            "trained_tokens": sum(int(row["tokens"]) for row in history),
            "skipped_steps": sum("skipped" in row for row in history),
            "final_loss": next(row["loss"] for row in reversed(history) if "loss" in row),
            "restarts": self.attempt - 1,
        } | self.best.facts

    def _event(self, type: str, **facts: Any) -> None:
        if self.events is not None:
            self.events.write(type, **facts)


def complete_states(state_dir: Path) -> list[Path]:
    """Checkpoints inside a fit that carry their completion marker, oldest first."""
    return sorted(path for path in state_dir.glob("step-*") if is_complete(path))


def held_out_row(loss: float, metrics: dict[str, float]) -> dict[str, float]:
    """Of an evaluation, under names of their own in the history; a loss that is no number is only said to be none."""
    if not math.isfinite(loss):
        return {"held_out_skipped": 1}
    return {f"held_out_{name}": value for name, value in ({"loss": loss} | metrics).items()}


def step_row(step: int, metrics: StepMetrics) -> dict[str, Any]:
    """A history row. A skipped step has no loss, norm or metric, but ``skipped``: 1."""
    row = {
        "step": step,
        "learning_rate": metrics.learning_rate,
        "tokens": metrics.tokens,
        "seconds": round(metrics.seconds, 4),
    }
    if not metrics.applied:
        return row | {"skipped": 1}
    return row | {"loss": metrics.loss, "grad_norm": metrics.grad_norm, **metrics.metrics}


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One JSON object per line."""
    import json

    write_atomic(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def versions() -> dict[str, str]:
    """Versions of what computes a fit."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "deepspeed", "transformers", "openrlhf", "ray", "peft")}


def _all_pids() -> list[int]:
    import os

    import torch.distributed as dist

    pids: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(pids, os.getpid())
    return pids


def _write_array(path: Path, array: np.ndarray) -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomic(path, buffer.getvalue())
