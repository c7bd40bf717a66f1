"""What the checks with engines share: a Ray, a learner, and engines that go from one check to the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import torch

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.shared_pool import engine_pool, shared_engines
from genrm_rl.runtime.console import people_console
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.selftest.checks import Place
from genrm_rl.selftest.random_model import LLAMA_1B, random_model

ROLES = 8  # CPUs that the roles of the alignment reserve together, and one to spare
TINY_MODEL = ModelConfig(name="tiny", max_context=128, dtype="float32")


class Room:
    """The Ray of one process of checks, and the learner that they share; engines are shared by
    :func:`~genrm_rl.rollout.shared_pool.shared_engines`."""

    def __init__(self, place: Place) -> None:
        self.place, self.machine = place, place.machine
        self.console = people_console(stderr=True)
        self._learner = ExitStack()
        self._known: tuple[Path, LearnerConfig] | None = None
        self._group: LearnerGroup | None = None

    def learner(self, model: Path, config: LearnerConfig) -> LearnerGroup:
        """The learner of ``model``; another one is ended first."""
        if self._known != (model, config):
            self.end_learner()
            self._group = self._learner.enter_context(LearnerGroup("policy", model, config))
            self._group.start()
            self._known = (model, config)
        assert self._group is not None
        return self._group

    def end_learner(self) -> None:
        """Give its memory back."""
        self._learner.close()
        self._known = None

    def rollout(self, **changes: object) -> RolloutConfig:
        """Engines of the tiny model, beside other roles."""
        values: dict[str, object] = {"device": self.machine.device, "max_in_flight": 256, "kv_cache_gib": 0.5}
        if self.machine.gpus:
            values |= {"gpu_share": 0.25, "gpu_memory_utilization": 0.1, "enforce_eager": True}
        return RolloutConfig.model_validate(values | changes)

    def learns(self, **changes: object) -> LearnerConfig:
        """A learner of the tiny model, beside engines."""
        values: dict[str, object] = {"cpus_per_worker": 2, "weight_decay": 0.0, "precision": "float32"}
        if self.machine.gpus:
            values |= {"gpus_per_worker": 0.5}
        return LearnerConfig.model_validate(values | changes)

    def engines(self, model: Path, config: ModelConfig, rollout: RolloutConfig) -> AbstractContextManager[EnginePool]:
        """See :func:`~genrm_rl.rollout.shared_pool.engine_pool`."""
        return engine_pool(model, rollout, config, console=self.console, logprobs_of="sampling")

    def large(self) -> tuple[Path, ModelConfig]:
        """A model of 1e9 parameters in bfloat16, for figures that depend on size."""
        model = random_model(self.place.folder, LLAMA_1B, torch.bfloat16, self.machine.device)
        return model, ModelConfig(name=str(model), max_context=2048, dtype="bfloat16")


@contextmanager
def open_room(place: Place) -> Iterator[Room]:
    """A Ray of its own on this machine, and the room in it."""
    room = Room(place)
    with ray_session("local", cpus=max(logical_cpus(), ROLES)), shared_engines():
        try:
            yield room
        finally:
            room.end_learner()
