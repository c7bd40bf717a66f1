"""Runs the cases of test_publication_across_nodes.py: a learner of two workers with half the model each, and two
engines, on nodes of their own beside a head that takes no work; prints one JSON object per case."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from genrm_rl.config import ModelConfig
from genrm_rl.learners.group import LearnerGroup, LearnerRoom
from genrm_rl.learners.objectives import build_objective
from genrm_rl.learners.packing import Segment
from genrm_rl.models import resolve_model
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.parity import ProbeReference, probe_prompts
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.segments import PREFIX, SHM_DIRECTORY

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine.engine_cases import MODEL, request, rollout_config, sample  # noqa: E402
from learners.conftest import FLOAT32, Maker  # noqa: E402

SHARDED = FLOAT32.model_copy(update={"workers": 2, "zero_stage": 3, "cpus_per_worker": 0.5, "pool": "learner"})
SEGMENT = str(SHM_DIRECTORY / PREFIX)


def say(case: str, **facts: object) -> None:
    print(json.dumps({"case": case, **facts}), flush=True)


def greedy(pool: EnginePool) -> list[list[int]]:
    results = sample(pool, [request(number, temperature=0.0) for number in range(8)])
    return [list(results[f"r{number}"].token_ids) for number in range(8)]


def train(policy: LearnerGroup, maker: Maker) -> None:
    objective = build_objective("sft", beta=0.5, label_smoothing=0.0, nll_coefficient=0.0)
    for _ in range(2):
        policy.step(maker.sequences(12), objective, learning_rate=3e-3)


def answers_of(policy: LearnerGroup, prompts: tuple[tuple[int, ...], ...]) -> ProbeReference:
    rows = policy.logprobs([Segment(prompt, np.arange(len(prompt) - 1)) for prompt in prompts])
    return ProbeReference(prompts, tuple(tuple(row.tolist()) for row in rows))


def segments() -> set[str]:
    """Segments of weights that processes of this cluster map and that have not been removed."""
    found: set[str] = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found |= {part.path for part in process.memory_maps() if SEGMENT in part.path}
    return {path for path in found if Path(path).exists()}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for pool, cpus in (("learner", 1), ("rollout", 1), ("rollout", 1)):
            cluster.add_node(num_cpus=cpus, labels={"pool": pool})
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        os.environ["RAY_ADDRESS"] = cluster.address
        run()
    finally:
        ray.shutdown()
        cluster.shutdown()


def run() -> None:
    model, maker = resolve_model(ModelConfig(name="tiny")).path, Maker(3)
    room = LearnerRoom(SHARDED, 1, lambda line: None)
    with (
        LearnerGroup("policy", model, SHARDED, room=room) as policy,
        EnginePool(model, rollout_config(engines=2, pool="rollout"), MODEL, device="cpu", console=Console(quiet=True))
        as pool,
    ):  # fmt: skip
        base, prompts = greedy(pool), probe_prompts(model)
        train(policy, maker)
        receipt = pool.publish("v1", policy, answers_of(policy, prompts))
        first = greedy(pool)
        say(
            "published",
            difference=receipt.probe.max_abs_difference_nats,
            engines=receipt.engines,
            bytes=receipt.bytes,
            size=(model / "model.safetensors").stat().st_size,
            changed=first != base,
            in_driver=SEGMENT in Path("/proc/self/maps").read_text(encoding="utf-8"),
        )

        train(policy, maker)  # what the learner has now was never published
        os.kill(pool.pids()[0], signal.SIGKILL)
        say("restarted", same=greedy(pool) == first, versions=[report.weight_version for report in pool.reports()])

        right = answers_of(policy, prompts)
        wrong = ProbeReference(prompts, tuple(tuple(value + 1.0 for value in row) for row in right.logprobs))
        try:
            pool.publish("v2", policy, wrong)
        except PublicationError as error:
            say("refused", phase=error.phase, version=pool.version, same=greedy(pool) == first)
        again = pool.publish("v2", policy, right)
        versions = [report.weight_version for report in pool.reports()]
        say("again", passed=again.probe.passed, versions=versions, segments=len(segments()))

        back = pool.publish("checkpoint", model)
        in_driver = SEGMENT in Path("/proc/self/maps").read_text(encoding="utf-8")
        say("checkpoint", passed=back.probe.passed, same=greedy(pool) == base, in_driver=in_driver)
        holder = next(
            p for p in psutil.Process().children(recursive=True) if "ray::CheckpointActor" in "".join(p.cmdline())
        )
        for pid in (holder.pid, pool.pids()[0]):
            os.kill(pid, signal.SIGKILL)
        say("holder_lost", same=greedy(pool) == base, versions=[report.weight_version for report in pool.reports()])
    room.close()


if __name__ == "__main__":
    main()
