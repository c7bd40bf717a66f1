"""Scores of many sequences by a scalar model (Bradley-Terry, PairRM), in Ray tasks of their own.

The same packing as in training; no DeepSpeed. Results are streamed back per microbatch, so progress is shown and a task
that dies is run again by Ray.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import GenRMError, ModelError
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.checkpoint import SCORE_HEAD_FILE
from genrm_rl.learners.events import FitProgress, progress_display
from genrm_rl.models.inspection import inspect_directory


def score_sequences(
    model_dir: str | Path,
    sequences: Sequence[Sequence[int]],
    learner: LearnerConfig,
    *,
    points: PointTokens | None = None,
    progress: Callable[[FitProgress], None] | None = None,
    show: bool = True,
) -> list[float]:
    """One score per token sequence (its last token), in order; with ``points``, a language model's expected number.
    Needs a connected Ray.

    ``learner`` gives the token budget, precision, packing and the resources; ``learner.workers`` tasks share the work.
    Raises ModelError if ``model_dir`` is no scalar model or a sequence does not fit it.
    """
    if not sequences:
        return []
    check_scalar_model(model_dir, sequences, with_head=points is None)
    import ray

    task = ray.remote(_score_task).options(**task_options(learner), num_returns="streaming")
    shared = ray.put([tuple(sequence) for sequence in sequences])
    order = sorted(range(len(sequences)), key=lambda index: (-len(sequences[index]), index))
    model = str(Path(model_dir).resolve())
    parts = [order[worker :: learner.workers] for worker in range(learner.workers)]
    streams = [task.remote(model, shared, part, learner, points) for part in parts if part]
    scores: dict[int, float] = {}
    started, tokens = time.perf_counter(), 0
    with progress_display(f"scores of {Path(model_dir).name}", show) as draw:
        for results in _as_completed(streams):
            for index, score in results:
                scores[index] = score
                tokens += len(sequences[index])
            speed = tokens / (time.perf_counter() - started)
            left = sum(map(len, sequences)) - tokens
            state = FitProgress(
                f"scores of {Path(model_dir).name}", "scoring", len(scores), len(sequences), speed, left / speed
            )
            draw(state)
            if progress is not None:
                progress(state)
    return [scores[index] for index in range(len(sequences))]


def task_options(learner: LearnerConfig) -> dict[str, Any]:
    """What Ray is asked for each of the tasks: a learner's resources, on the nodes of its pool."""
    return {
        "num_cpus": learner.cpus_per_worker,
        "num_gpus": learner.gpus_per_worker,
        "max_retries": learner.max_failures,
        "label_selector": {"pool": learner.pool} if learner.pool else None,
    }


def check_scalar_model(model_dir: str | Path, sequences: Sequence[Sequence[int]], *, with_head: bool = True) -> None:
    """Raise ModelError, before anything is loaded, if the scores can't be computed."""
    path = Path(model_dir)
    facts = inspect_directory(path)
    if with_head and not (path / SCORE_HEAD_FILE).is_file():
        raise ModelError(f"{path} has no {SCORE_HEAD_FILE}; give a checkpoint of objective bradley_terry or pairrm")
    longest = max(map(len, sequences))
    if facts.max_position is not None and longest > facts.max_position:
        raise ModelError(f"a sequence has {longest} tokens, more than the {facts.max_position} positions of {path}")
    if min(map(len, sequences)) < 1:
        raise ModelError("a sequence to score is empty")


class Scorer:
    """A scalar model, or with ``points`` a language model that is asked for numbers, in this process. Raises ModelError
    if ``model_dir`` holds none."""

    def __init__(self, model_dir: str | Path, learner: LearnerConfig, points: PointTokens | None = None) -> None:
        import torch

        from genrm_rl.learners.device import device_of
        from genrm_rl.learners.network import load_network

        self._device = device_of(learner)
        if self._device.type == "cpu":
            torch.set_num_threads(max(1, int(learner.cpus_per_worker)))
        self._learner = learner
        head = "score" if points is None else "points"
        self._network = load_network(model_dir, learner, head=head, points=points).to(self._device).eval()

    def scores(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """One score per token sequence, in order."""
        found = dict(each for part in self.iterate(sequences, range(len(sequences))) for each in part)
        return [found[index] for index in range(len(sequences))]

    def iterate(self, sequences: Sequence[Sequence[int]], indices: Sequence[int]) -> Iterator[list[tuple[int, float]]]:
        """Score ``sequences[i]`` for i in ``indices``; yields (i, score) by microbatch."""
        import torch

        from genrm_rl.learners.packing import collate, plan_microbatches
        from genrm_rl.learners.pair_objectives import last_token

        packed = self._learner.packing
        sizes = [[len(sequences[index])] for index in indices]
        (plan,) = plan_microbatches(sizes, budget=self._learner.tokens_per_microbatch, workers=1, packed=packed)
        for microbatch in plan:
            chosen = [indices[position] for position in microbatch]
            batch = collate([last_token(sequences[index]) for index in chosen], packed=packed).to(self._device)
            with torch.inference_mode():
                values_N, *_ = self._network(*batch.network_inputs())
            yield list(zip(chosen, values_N.float().tolist(), strict=True))


def _score_task(
    model_dir: str,
    sequences: Sequence[Sequence[int]],
    indices: Sequence[int],
    learner: LearnerConfig,
    points: PointTokens | None,
) -> Iterator[list[tuple[int, float]]]:
    yield from Scorer(model_dir, learner, points).iterate(sequences, indices)


def _as_completed(streams: list[Any]) -> Iterator[list[tuple[int, float]]]:
    """Results of all streams, whichever is ready first."""
    import ray

    waiting = list(streams)
    while waiting:
        (stream,), _ = ray.wait(waiting, num_returns=1, fetch_local=False)
        reference = next(stream, None)
        if reference is None:
            waiting.remove(stream)
            continue
        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, GenRMError):
                raise error.cause from error
            raise
        yield result
