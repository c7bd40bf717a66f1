"""Long-lived learners for reinforcement learning: one Ray actor per worker, driven as one.

Supervised fits run under Ray Train (:mod:`genrm_rl.learners.fit`). A policy, critic or reference lives as long as the
run instead: its workers join one process group, and every call goes to all of them with the same arguments.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import ray
from ray.exceptions import ObjectLostError, RayActorError
from ray.util.placement_group import remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import GenRMError
from genrm_rl.learners.actor import LearnerActor
from genrm_rl.learners.objective import Objective
from genrm_rl.learners.packing import Segment
from genrm_rl.learners.payload import LearnerPayload
from genrm_rl.runtime.console import people_console
from genrm_rl.runtime.stalls import Whereabouts, answers

if TYPE_CHECKING:
    import numpy as np

    from genrm_rl.learners.learner import StepMetrics
    from genrm_rl.learners.network import HeadKind
    from genrm_rl.rollout.parity import ProbeReference
    from genrm_rl.rollout.settings import WeightBackend


class LearnerLostError(GenRMError):
    """A worker of a learner is gone, and with it what was learned since the last checkpoint."""


class LearnerRoom:
    """Bundles for the workers of several models that take turns: worker ``i`` of each lives in bundle ``i``, so they
    share its GPU. Raises EnvironmentProblem if the cluster gives no room in time; close it after the groups in it.
    """

    def __init__(self, config: LearnerConfig, models: int, say: Callable[[str], None]) -> None:
        from placement.acquire import Request, acquire
        from placement.roles import learner_bundle
        from placement.room import on_a_cluster

        self._options = _own_options(config) | {"num_gpus": config.gpus_per_worker / models}
        bundle = learner_bundle(config, models)
        request = Request("learners", config.workers, bundle, config.pool, "learner.workers or learner.cpus_per_worker")
        self._group = acquire(request, deadline=config.placement_deadline, grows=on_a_cluster(), say=say)

    def options(self, rank: int) -> dict[str, Any]:
        """Ray options of a model's worker."""
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank)
        return self._options | {"scheduling_strategy": strategy}

    def close(self) -> None:
        """Give the bundles back."""
        remove_placement_group(self._group)


def _own_options(config: LearnerConfig) -> dict[str, Any]:
    return {"num_cpus": config.cpus_per_worker, "num_gpus": config.gpus_per_worker}


class LearnerGroup:
    """All workers of one model. ``role`` names it in errors; close it (or use it as a context manager) to end them."""

    def __init__(
        self,
        role: str,
        model_dir: str | Path,
        config: LearnerConfig,
        *,
        head: HeadKind = "language",
        seed: int = 0,
        trainable: bool = True,
        room: LearnerRoom | None = None,
    ) -> None:
        self.role = role
        self._config = config
        self._model_dir = model_dir
        options = [room.options(rank) if room else _own_options(config) for rank in range(config.workers)]
        self._actors = [LearnerActor.options(**chosen).remote() for chosen in options]
        self._setup = [
            (rank, config.workers, str(model_dir), config, head, seed, trainable) for rank in range(config.workers)
        ]
        self._starting: list[ray.ObjectRef] | None = None
        self._loading = True
        self._processes = [actor.whereabouts.remote() for actor in self._actors]
        self._workers: list[Whereabouts] = []
        self._payloads = 0
        self._offloaded = False
        self._calling = threading.Lock()

    def start(self) -> None:
        """Begin loading without waiting; :meth:`ready` (or the first call) waits."""
        meeting = ray.get(self._actors[0].address.remote()) if len(self._actors) > 1 else ("", 0)
        self._starting = [
            actor.setup.remote(rank, size, meeting, *rest)
            for actor, (rank, size, *rest) in zip(self._actors, self._setup, strict=True)
        ]

    def ready(self) -> None:
        """Wait until every worker has loaded. Raises what a worker raised, and StallError."""
        if not self._loading:
            return
        deadline = self._config.startup_deadline
        self._workers = self._answers(self._processes, "the processes of the", deadline, "learner.startup_deadline")
        if self._starting is None:
            self.start()
        self._answers(self._starting, "the loading of the", deadline, "learner.startup_deadline")
        self._loading = False

    def processes(self) -> list[Whereabouts]:
        """Where the workers live, by rank."""
        self.ready()
        return self._workers

    def logprobs(
        self, segments: Sequence[Segment], *, temperature: float = 1.0, adapter: bool = True
    ) -> list[np.ndarray]:
        """See :meth:`Learner.logprobs`; without its ``adapter``, the model that was loaded answers."""
        return self._first("logprobs", ray.put(list(segments)), temperature, adapter)

    def summed_logprobs(self, segments: Sequence[Segment], *, adapter: bool = True) -> np.ndarray:
        """See :meth:`Learner.summed_logprobs`."""
        return self._first("summed_logprobs", ray.put(list(segments)), adapter)

    def values(self, segments: Sequence[Segment]) -> list[np.ndarray]:
        """See :meth:`Learner.values`."""
        return self._first("values", ray.put(list(segments)))

    def most_likely(
        self, segments: Sequence[Segment], top_k: int, *, adapter: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """See :meth:`Learner.most_likely`."""
        return self._first("most_likely", ray.put(list(segments)), top_k, adapter)

    def step(self, batch: Sequence[Any], objective: Objective, *, learning_rate: float) -> StepMetrics:
        """See :meth:`Learner.step`."""
        return self._first("step", ray.put(list(batch)), objective, learning_rate)

    def hold(self, backend: WeightBackend) -> LearnerPayload:
        """A copy of the present weights in the workers' host memory, to be published from there."""
        self._payloads += 1
        return LearnerPayload(self._payloads, backend, self._call, self._actors)

    def probe_reference(self) -> ProbeReference:
        """What the learner answers to the parity probe's prompts, to be published with its weights."""
        import numpy as np

        from genrm_rl.rollout.parity import ProbeReference, probe_prompts

        prompts = probe_prompts(self._model_dir)
        rows = self.logprobs([Segment(prompt, np.arange(len(prompt) - 1)) for prompt in prompts])
        return ProbeReference(prompts, tuple(tuple(row.tolist()) for row in rows), self._config.compute_format)

    def save(self, directory: Path) -> None:
        """Write an HF checkpoint into an existing directory that all workers reach."""
        self._first("save", str(directory))

    def save_state(self, directory: Path, tag: str) -> None:
        """Weights and optimizer, each worker its shard; to an object store they go while the group goes on."""
        self._first("save_state", str(directory), tag)

    def uploaded(self, *, wait: bool) -> bool:
        """Whether all shards of :meth:`save_state` have arrived; ``wait`` until they have. Raises RunDirectoryError if
        one can't."""
        return all(self._call("uploaded", None, wait))

    def load_state(self, directory: Path, tag: str) -> None:
        """Go on from :meth:`save_state`."""
        self._first("load_state", str(directory), tag)

    def offload(self) -> None:
        """Leave the GPUs to others until :meth:`reload`; see :meth:`Learner.offload`."""
        if not self._offloaded:
            self._first("offload")
            self._offloaded = True

    def reload(self) -> None:
        """Take the GPUs again, if they were left."""
        if self._offloaded:
            self._first("reload")
            self._offloaded = False

    def close(self) -> None:
        """End the workers."""
        for actor in self._actors:
            ray.kill(actor, no_restart=True)

    def __enter__(self) -> LearnerGroup:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _first(self, method: str, *arguments: Any) -> Any:
        return self._call(method, None, *arguments)[0]

    def _call(self, method: str, workers: int | None, *arguments: Any) -> list[Any]:
        """Call the first ``workers`` of the group, or all."""
        self.ready()
        with self._calling:  # every worker gets the calls of two threads in the same order
            calls = [getattr(actor, method).remote(*arguments) for actor in self._actors[:workers]]
        return self._answers(calls, f"`{method}` of the", self._config.stall_deadline, "learner.stall_deadline")

    def _answers(self, calls: list[ray.ObjectRef], what: str, deadline: float, setting: str) -> list[Any]:
        say = people_console(stderr=True).print
        name = f"{what} {self.role}"
        try:
            return answers(calls, name, deadline=deadline, setting=setting, workers=self._workers, say=say)
        except (RayActorError, ObjectLostError) as gone:  # its answer can be lost with its node too
            raise LearnerLostError(f"a worker of the {self.role} died") from gone


class StartingModel:
    """The model that a LoRA adapter started from, in the workers of the policy that learns it: a reference that takes
    no memory of its own."""

    def __init__(self, policy: LearnerGroup) -> None:
        self._policy = policy

    def logprobs(self, segments: Sequence[Segment], *, temperature: float = 1.0) -> list[np.ndarray]:
        """See :meth:`Learner.logprobs`."""
        return self._policy.logprobs(segments, temperature=temperature, adapter=False)

    def summed_logprobs(self, segments: Sequence[Segment]) -> np.ndarray:
        """See :meth:`Learner.summed_logprobs`."""
        return self._policy.summed_logprobs(segments, adapter=False)

    def most_likely(self, segments: Sequence[Segment], top_k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """See :meth:`Learner.most_likely`."""
        return self._policy.most_likely(segments, top_k, adapter=False)

    def offload(self) -> None:
        """It leaves with the policy."""
        self._policy.offload()

    def reload(self) -> None:
        """And comes back with it."""
        self._policy.reload()


Frozen: TypeAlias = LearnerGroup | StartingModel


@contextmanager
def learner_groups(
    models: Mapping[str, bool], model_dir: Path, config: LearnerConfig, *, seed: int, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """A group for each of ``models`` (role -> whether it learns) in one room; all start loading at once. A ``critic``
    has a score head. Where adapters learn, a frozen model is the ``policy`` with its adapter off."""
    from placement.roles import loaded_models

    loaded = loaded_models(models, config)
    with ExitStack() as stack:
        room = LearnerRoom(config, len(loaded), say)
        stack.callback(room.close)
        groups: dict[str, Any] = {}
        for role, learns in loaded.items():
            head: HeadKind = "score" if role == "critic" else "language"
            made = LearnerGroup(role, model_dir, config, head=head, seed=seed, trainable=learns, room=room)
            stack.callback(made.close)
            made.start()
            groups[role] = made
        yield {role: groups.get(role) or StartingModel(groups["policy"]) for role in models}


def work_until_done(work: Callable[[], None], config: LearnerConfig, say: Callable[[str], None]) -> None:
    """``work``, begun again from its last checkpoint when a worker dies: what its peers hold in memory fits no
    older weights. Raises LearnerLostError after ``learner.max_failures`` times."""
    for left in reversed(range(config.max_failures + 1)):
        try:
            work()
            return
        except LearnerLostError as lost:
            if not left:
                raise
            say(f"{lost}; starting again from the last checkpoint ({left} more times)")
