"""A learner's weights on their way to engines, by every backend; and engines that sleep until they come."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.generation import GenerationRequest
from genrm_rl.learners.benchmark import random_examples
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.rollout.parity import probe_prompts
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.selftest.checks import CheckFailed, Figures
from genrm_rl.selftest.room import TINY_MODEL, Room
from placement.memory import GIB
from placement.shapes import TINY

PUBLICATIONS = 3
RATE = 1e-3
FREED = 0.9  # of an engine's memory, by sleeping


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
        said = _greedy(pool, model)
        pool.sleep(until_published=False)
        kept = _used()
        pool.wake()
        says_again = _greedy(pool, model)
    freed = (awake - asleep) / (awake - before)
    figures: Figures = {
        "engine_gib": (awake - before) / GIB,
        "freed_share": freed,
        "freed_share_weights_kept": (awake - kept) / (awake - before),
        "sleep_seconds": seconds,
        "wake_and_publish_seconds": receipt.seconds,
    }
    if said != says_again:
        raise CheckFailed("an engine that kept its weights while it slept answers otherwise than before", figures)
    if freed < FREED:
        raise CheckFailed(f"sleeping freed {freed:.0%} of the engine's memory, and {FREED:.0%} is expected", figures)
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


def _greedy(pool: EnginePool, model: Path) -> list[tuple[int, ...]]:
    """What the engines answer without chance."""
    requests = [GenerationRequest(str(i), ids, 16, 0.0, 1.0, 0) for i, ids in enumerate(probe_prompts(model))]
    return [found.token_ids for found in sorted(pool.generate(requests), key=lambda found: found.request_id)]


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
