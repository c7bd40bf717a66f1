"""Engines that go from one job to the next, when both ask for the same kind of engine.

Starting an engine costs half a minute and more; publishing other weights to it costs a second. A closed loop knows
which of its jobs follow on each other with the same model and settings, and puts them into one `shared_engines`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.rollout.pool import BASE_VERSION, EnginePool
from genrm_rl.rollout.resources import choose_device
from genrm_rl.rollout.settings import Distribution, engine_settings

DECISIVE_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
ANY_VALUE = ("dtype", "transformers_version", "_name_or_path")  # the engine computes in a dtype of its own


class SharedPool:
    """At most one pool, kept between two jobs; ``in_use`` while a job has it."""

    def __init__(self) -> None:
        self.pool: EnginePool | None = None
        self.in_use = False

    def take(
        self,
        model_path: str | Path,
        rollout: RolloutConfig,
        model: ModelConfig,
        logprobs: Distribution,
        lora_rank: int = 0,
    ) -> bool:
        """Whether the kept pool now serves ``model_path`` as its base. One that can't is ended: the next may need its
        room."""
        if self.pool is None:
            return False
        wanted = engine_settings(model_path, rollout, model, choose_device(rollout), logprobs, lora_rank)
        kept = self.pool.settings
        # Adapters stay with their base.
        other = kept if kept.lora_rank else replace(kept, model_path=wanted.model_path)
        same = wanted == other and rollout == self.pool.rollout
        if not same or not same_architecture(kept.model_path, model_path):
            self.end()
            return False
        self.pool.publish(BASE_VERSION, model_path)
        return True

    def end(self) -> None:
        """Give the engines back."""
        pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown()


_shared: ContextVar[SharedPool | None] = ContextVar("shared_pool", default=None)


@contextmanager
def shared_engines() -> Iterator[None]:
    """Inside, the engines of a job that has ended well wait for the next one; at the end they are given back."""
    shared = SharedPool()
    token = _shared.set(shared)
    try:
        yield
    finally:
        _shared.reset(token)
        shared.end()


def end_kept_engines() -> None:
    """End engines that wait for the next job: learners come first there, and find the GPUs empty."""
    shared = _shared.get()
    if shared is not None and not shared.in_use:
        shared.end()


@contextmanager
def engine_pool(
    model_path: str | Path,
    rollout: RolloutConfig,
    model: ModelConfig,
    *,
    console: Console | None = None,
    logprobs_of: Distribution = "model",
    lora_rank: int = 0,
    role: str = "",
) -> Iterator[EnginePool]:
    """The engines of one job, which serve ``model_path`` as their base: those that the job before it left inside
    `shared_engines`, or new ones, which are waited for where they are needed first. Arguments and errors: `EnginePool`;
    publishing to kept ones may raise PublicationError."""
    shared = _shared.get()
    alone = shared is None or shared.in_use
    place = SharedPool() if alone else shared
    try:
        if not place.take(model_path, rollout, model, logprobs_of, lora_rank):
            place.pool = EnginePool(
                model_path, rollout, model, console=console, logprobs_of=logprobs_of, lora_rank=lora_rank, role=role
            )
        place.in_use = True
        yield place.pool
    except BaseException:
        place.end()
        raise
    finally:
        place.in_use = False
        if alone:
            place.end()


def same_architecture(one: str | Path, other: str | Path) -> bool:
    """Whether engines of one model directory can serve the weights of the other: same network, same tokens."""
    return all(_facts(one, name) == _facts(other, name) for name in DECISIVE_FILES)


def _facts(folder: str | Path, name: str) -> dict[str, object] | None:
    path = Path(folder) / name
    if not path.is_file():
        return None
    return {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k not in ANY_VALUE}
