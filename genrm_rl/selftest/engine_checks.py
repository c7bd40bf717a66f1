"""Engines and a learner on one Ray: the same log-probabilities, publication, sleep, speed, and a whole alignment."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console

from genrm_rl.alignment.job import run_alignment
from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.benchmark import random_examples
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.learners.packing import Segment
from genrm_rl.rollout.benchmark import engine_ratio
from genrm_rl.rollout.parity import ProbeReference, compare, parity_limit, probe_prompts
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.settings import model_config_json
from genrm_rl.rollout.shared_pool import engine_pool, shared_engines
from genrm_rl.rollout.types import GenerationRequest
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.runtime.storage import read_json
from genrm_rl.selftest.checks import CheckFailed, Figures, Place
from genrm_rl.selftest.random_model import LLAMA_1B, random_model
from placement.memory import GIB
from placement.shapes import TINY

ANSWERS = 16  # to each probe prompt
PUBLICATIONS = 3
RATE = 1e-3
STEPS = 3
ROLES = 8  # CPUs that the roles of the alignment reserve together, and one to spare
FREED = 0.9  # of an engine's memory, by sleeping
# Requests, prompt and answer tokens of the comparison with bare vLLM.
SPEED = {"cpu": (96, 48, 48), "cuda": (512, 128, 256)}
SLOWEST = {"cpu": 0.8, "cuda": 0.9}  # pool / bare below which something is wrong
TINY_MODEL = ModelConfig(name="tiny", max_context=128, dtype="float32")


class Room:
    """The Ray of one process of checks, and the learner that they share; engines are shared by
    :func:`~genrm_rl.rollout.shared_pool.shared_engines`."""

    def __init__(self, place: Place) -> None:
        self.place, self.machine = place, place.machine
        self.console = Console(stderr=True)
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

    def engines(self, model: Path, config: ModelConfig, rollout: RolloutConfig) -> ExitStack | EnginePool:
        """See :func:`~genrm_rl.rollout.shared_pool.engine_pool`."""
        return engine_pool(model, rollout, config, console=self.console, logprobs_of="sampling")  # type: ignore[return-value]

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


def engine_parity(room: Room) -> Figures:
    """What the engine says of its own samples against what the learner says of them, in nats."""
    policy = room.learner(TINY, room.learns())
    with room.engines(TINY, TINY_MODEL, room.rollout()) as pool:
        prompts = probe_prompts(TINY)
        requests = [
            GenerationRequest(f"{number}-{place}", prompt, 32, 1.0, 1.0, number, sampled_logprobs=True)
            for place, prompt in enumerate(prompts)
            for number in range(ANSWERS)
        ]
        answers = {result.request_id: result for result in pool.generate(requests)}
    asked, said, segments = [], [], []
    for request in requests:
        result = answers[request.request_id]
        if result.error:
            raise CheckFailed(f"an answer failed: {result.error}")
        ids, start = request.prompt_token_ids + result.token_ids, len(request.prompt_token_ids)
        asked.append(ids)
        said.append(result.sampled_logprobs_T)
        segments.append(Segment(ids, np.arange(start - 1, len(ids) - 1)))
    learned = [tuple(row.tolist()) for row in policy.logprobs(segments)]
    probe = compare(ProbeReference(tuple(asked), tuple(learned)), said, parity_limit(None, TINY_MODEL.dtype))
    figures: Figures = {
        "tokens": probe.tokens,
        "mean_nats": probe.mean_abs_difference_nats,
        "largest_nats": probe.max_abs_difference_nats,
        "limit_nats": probe.limit_nats,
    }
    if not probe.passed:
        raise CheckFailed("engine and learner differ by more than a publication allows", figures)
    return figures


def publication_shared_memory(room: Room) -> Figures:
    """A trained learner's weights through shared memory; on a GPU of a model of 1e9 parameters."""
    if room.machine.gpus:
        return _published_large(room, "shared_memory")
    return _published(room, TINY, TINY_MODEL, room.rollout(), room.learns())


def publication_ipc(room: Room) -> Figures:
    """The same over CUDA IPC."""
    return _published_large(room, "ipc")


def publication_nccl(room: Room) -> Figures:
    """The same over NCCL: the learner on one GPU, engines on up to two others."""
    model, config = room.large()
    engines = min(2, room.machine.gpus - 1)
    rollout = room.rollout(
        weight_backend="nccl", engines=engines, gpu_share=1.0, gpu_memory_utilization=0.5, max_in_flight=512
    )
    return _published(room, model, config, rollout, room.learns(gpus_per_worker=1, precision="bfloat16"))


def sleep(room: Room) -> Figures:
    """GPU memory that an engine frees, as a share of what it takes, and whether it wakes with published weights."""
    model, config = room.large()
    policy = room.learner(model, room.learns(precision="bfloat16", gpus_per_worker=0.4))
    policy.ready()
    before = _used()
    with room.engines(model, config, _beside_learner(room, "shared_memory", sleep=True)) as pool:
        pool.wait_until_ready()
        awake = _used()
        began = time.perf_counter()
        pool.sleep()
        seconds, asleep = time.perf_counter() - began, _used()
        receipt = pool.publish("awake", policy, policy.probe_reference())
    freed = (awake - asleep) / (awake - before)
    figures: Figures = {
        "engine_gib": (awake - before) / GIB,
        "freed_share": freed,
        "sleep_seconds": seconds,
        "wake_and_publish_seconds": receipt.seconds,
    }
    if freed < FREED:
        raise CheckFailed(f"sleeping freed {freed:.0%} of the engine's memory, and {FREED:.0%} is expected", figures)
    return figures


def pool_speed(room: Room) -> Figures:
    """Tokens/s of the pool, and its ratio to bare vLLM."""
    model, config, rollout = TINY, TINY_MODEL, room.rollout()
    if room.machine.gpus:
        room.end_learner()
        model, config = room.large()
        rollout = room.rollout(
            enforce_eager=False, gpu_share=0.45, gpu_memory_utilization=0.4, max_in_flight=512, startup_deadline=280.0
        )
    count, prompt, tokens = SPEED[room.machine.device]
    vocabulary = int(model_config_json(TINY)["vocab_size"])  # type: ignore[call-overload]
    with room.engines(model, config, rollout) as pool:
        found = engine_ratio(
            pool, vocabulary=vocabulary, count=count, prompt_tokens=prompt, max_tokens=tokens, repeats=3
        )
    figures: Figures = {
        "pool_tokens_per_second": median(found.pool_tokens_per_second),
        "bare_tokens_per_second": median(found.bare_tokens_per_second),
        "ratio": found.ratio,
    }
    if found.ratio < SLOWEST[room.machine.device]:
        raise CheckFailed(f"the pool has {found.ratio:.2f} times the speed of bare vLLM", figures)
    return figures


def alignment(room: Room) -> Figures:
    """Three steps of Dr. GRPO against the untrained judge, everything on one machine (or one GPU)."""
    room.end_learner()
    folder = room.place.folder / "runs"
    shutil.rmtree(folder, ignore_errors=True)
    judge = {key: value for key, value in room.rollout().model_dump().items() if key != "sleep"}
    config = AlignConfig.model_validate(
        {
            "run": {"id": "selftest", "root": str(folder)},
            "model": TINY_MODEL.model_dump(),
            "prompts": {"train": [{"world": "train"}], "test": [{"world": "test"}]},
            "sampling": {"max_tokens": 32},
            "rollout": room.rollout().model_dump(),
            "learner": room.learns(gpus_per_worker=0.5 if room.machine.gpus else 0).model_dump(),
            "reward": {"rule": "circular", "greedy": True},
            "judge_model": {"name": "tiny", "max_context": 320, "dtype": "float32"},
            "judge": {"template": "compact", "max_rationale": 96},
            "judge_rollout": judge,
            "ppo": {"steps": STEPS, "prompts_per_step": 16, "samples_per_prompt": 6, "advantage": "dr_grpo"},
            "evaluation": {"every": 0, "prompts": 40, "probes": 0, "decoding": ["greedy"]},
        }
    )
    run = run_alignment(config, room.console)
    rows = [read_json(run / f"steps/{step:05d}/metrics.json") for step in range(STEPS)]
    broken = [row["step"] for row in rows if not math.isfinite(row["train/loss"]) or row["train/empty"]]
    figures: Figures = {
        "seconds_per_step": median(row["seconds/step"] for row in rows),
        "masked_share": sum(row["reward/masked_share"] for row in rows) / STEPS,
        "engine_learner_kl": max(abs(row["train/kl_engine"]) for row in rows),
    }
    if broken:
        raise CheckFailed(f"steps {broken} learned nothing", figures)
    return figures


def _published_large(room: Room, backend: str) -> Figures:
    model, config = room.large()
    learner = room.learns(precision="bfloat16", gpus_per_worker=0.4, tokens_per_microbatch=8192, zero_stage=2)
    return _published(room, model, config, _beside_learner(room, backend), learner)


def _beside_learner(room: Room, backend: str, **changes: object) -> RolloutConfig:
    """An engine of the large model that shares its GPU with a learner."""
    return room.rollout(weight_backend=backend, gpu_share=0.5, gpu_memory_utilization=0.3, max_in_flight=512, **changes)


def _published(room: Room, model: Path, config: ModelConfig, rollout: RolloutConfig, learner: LearnerConfig) -> Figures:
    """Publications after an optimizer step each; the parity probe of each is the proof (PublicationError without)."""
    policy = room.learner(model, learner)
    examples = random_examples(model, [64] * 8, 0.5)
    with room.engines(model, config, rollout) as pool:
        receipts = []
        for number in range(PUBLICATIONS):
            policy.step(examples, SupervisedTokens(), learning_rate=RATE)
            receipts.append(pool.publish(f"selftest-{number}", policy, policy.probe_reference()))
        served = {report.weight_version for report in pool.reports()}
        said = _says(pool, model)
    last = receipts[-1]
    transfer = median(receipt.transfer_seconds for receipt in receipts[1:])
    figures: Figures = {
        "backend": last.backend,
        "engines": last.engines,
        "gigabytes": last.bytes / 1e9,
        "seconds": median(receipt.seconds for receipt in receipts[1:]),
        "transfer_seconds": transfer,
        "copies": transfer / copy_seconds(last.bytes, room.machine.device),
        "parity_nats": last.probe.mean_abs_difference_nats,
    }
    if served != {last.version} or said != last.version:
        raise CheckFailed(f"{last.version} was published, and the engines say {served}, their answers {said}", figures)
    return figures


def _says(pool: EnginePool, model: Path) -> str:
    """The version that an answer carries."""
    request = GenerationRequest("version", probe_prompts(model)[0], 4, 0.0, 1.0, 0)
    return next(iter(pool.generate([request]))).weight_version


def copy_seconds(size: int, device: str) -> float:
    """What one plain copy of ``size`` bytes takes on the device."""
    source = torch.empty(size, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return median(times[1:])


def _used() -> int:
    """Bytes of the first GPU that are in use by everyone."""
    free, total = torch.cuda.mem_get_info(0)
    return total - free
