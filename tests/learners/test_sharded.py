"""ZeRO-3 over two workers: nobody holds the whole model, and everything comes out as with one worker and no shards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.objectives import HEAD_KIND, build_objective, completion_tokens
from genrm_rl.learners.pair_objectives import last_token
from tests.learners import conftest
from tests.learners.conftest import FLOAT32, Maker

CASES = {
    "language": ("sft", {}),
    "bfloat16 score head": ("bradley_terry", {"precision": "bfloat16"}),
    "LoRA": ("sft", {"lora_rank": 4}),
    "everything on the CPU": ("sft", {"offload": "optimizer_and_parameters"}),
}


def examples_of(kind: str) -> list[Any]:
    return Maker().pairs(12) if kind == "bradley_terry" else Maker().sequences(12)


def read(learner, kind: str) -> list[float]:
    """What the learner makes of some sequences: scores, which worker 0 alone is told, or summed log-probabilities."""
    sequences = [example.input_ids for example in Maker(5).sequences(6)]
    if kind == "bradley_terry":
        return learner.scores([last_token(ids) for ids in sequences])
    segments = [completion_tokens(ids[:3], ids[3:]) for ids in sequences]
    rows, sums = learner.logprobs(segments), learner.summed_logprobs(segments).tolist()
    assert [float(row.double().sum()) for row in rows] == pytest.approx(sums if learner.rank == 0 else [])
    return sums


def train(learner, kind: str, steps: int) -> list[float]:
    objective = build_objective(kind, beta=0.5, label_smoothing=0.0, nll_coefficient=0.0)
    rows = [learner.step(examples_of(kind), objective, learning_rate=1e-3) for _ in range(steps)]
    return [number for row in rows for number in (row.loss, row.grad_norm)]


class BrokenInOnePlace:
    """An objective whose loss is finite, and whose gradient is not where one of the examples is."""

    def __init__(self, inner: Any, broken: str) -> None:
        self.inner, self.broken = inner, broken
        self.reading, self.metrics = inner.reading, inner.metrics
        self.segments, self.totals = inner.segments, inner.totals

    def loss(self, outputs: Any, examples: Any, totals: Any, dp_size: int) -> Any:
        loss, sums = self.inner.loss(outputs, examples, totals, dp_size)
        if any(example.id == self.broken for example in examples):
            loss = loss + torch.sqrt((outputs.values_N * 0.0).sum())
        return loss, sums


def broken_step(learner, kind: str) -> bool:
    """Whether a step is applied of which one microbatch, on one of the workers, has no finite gradient."""
    objective = build_objective(kind, beta=0.5, label_smoothing=0.0, nll_coefficient=0.0)
    examples = examples_of(kind)
    return learner.step(examples, BrokenInOnePlace(objective, examples[0].id), learning_rate=1e-3).applied


def story(model_dir: str, config: LearnerConfig, kind: str, directory: Path) -> dict[str, Any]:
    """The life of a learner; what a worker saw of it."""
    from genrm_rl.learners.learner import Learner
    from genrm_rl.learners.network import load_network
    from genrm_rl.learners.sharding import load_sharded_network

    facts: dict[str, Any] = {}
    load = load_sharded_network if config.zero_stage == 3 else load_network
    network = load(model_dir, config, head="language")
    facts["whole after loading"] = [n for n, p in network.named_parameters() if p.numel() and "lora_" not in n]
    facts["buffers"] = {name: buffer.double().sum().item() for name, buffer in network.named_buffers()}
    learner = Learner(model_dir, config, head=HEAD_KIND[kind], seed=1)
    parameters = [p for p in learner.network.parameters() if hasattr(p, "ds_tensor")]
    facts["elements"] = sum(p.ds_numel for p in parameters)
    facts["held"] = sum(p.ds_tensor.numel() for p in parameters)
    facts["first"] = read(learner, kind)
    facts["steps"] = train(learner, kind, 2)
    learner.save_state(directory / "state", "state", {"step": 2})
    learner.save(directory / "saved", model_dir)
    facts["trained"] = read(learner, kind)
    facts["weights"] = {name: tensor.double().norm().item() for name, tensor in learner.weights()}
    facts["broken step applied"] = broken_step(learner, kind)
    facts["more"] = train(learner, kind, 2)
    learner.close()
    again = Learner(model_dir, config, head=HEAD_KIND[kind], seed=2)
    again.load_state(directory / "state", "state")
    facts["more after a restart"] = train(again, kind, 2)
    again.close()
    frozen = Learner(directory / "saved", config, seed=2, trainable=False)
    facts["held by the frozen"] = sum(p.ds_tensor.numel() for p in frozen.network.parameters() if hasattr(p, "ds_id"))
    facts["frozen"] = read(frozen, "sft")
    facts["frozen weights"] = {name: tensor.double().norm().item() for name, tensor in frozen.weights()}
    frozen.close()
    return facts


@ray.remote(num_cpus=0.5)
class Worker:
    """One of two processes that meet."""

    def address(self) -> tuple[str, int]:
        from ray.train._internal.utils import get_address_and_port

        return get_address_and_port()

    def tell(self, rank: int, meeting: tuple[str, int], *arguments: Any) -> dict[str, Any]:
        import os

        from genrm_rl.learners.process_group import join

        os.environ["LOCAL_RANK"] = "0"
        if not torch.distributed.is_initialized():
            join(rank, 2, *meeting, "gloo", 120)
        return story(*arguments)


@pytest.fixture(scope="module")
def workers(ray_cluster):
    """Two processes that don't have this folder on their path, so its code travels by value."""
    for module in (conftest, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    made = [Worker.remote() for _ in range(2)]
    meeting = ray.get(made[0].address.remote())
    yield made, meeting
    for worker in made:
        ray.kill(worker)
    for module in (conftest, sys.modules[__name__]):
        ray.cloudpickle.unregister_pickle_by_value(module)


DEAR = CASES.keys() - {"language"}


@pytest.mark.parametrize("case", [pytest.param(name, marks=[pytest.mark.drill] * (name in DEAR)) for name in CASES])
def test_two_workers_with_half_the_model_each_do_the_same(case, workers, tiny_model, tmp_path):
    kind, options = CASES[case]
    plain = FLOAT32.model_copy(update={"tokens_per_microbatch": 200} | options)
    sharded = plain.model_copy(update={"zero_stage": 3, "workers": 2})
    (tmp_path / "sharded").mkdir()
    actors, meeting = workers
    model = str(tiny_model.path)
    calls = [
        actor.tell.remote(r, meeting, model, sharded, kind, tmp_path / "sharded") for r, actor in enumerate(actors)
    ]
    first, second = ray.get(calls)
    unsharded = plain.model_copy(update={"offload": "none"})
    alone = story(model, unsharded, kind, tmp_path / "alone")

    for found in (first, second):
        assert found["whole after loading"] == []
        for held in ("held", "held by the frozen"):
            # An odd element is padded; LoRA's adapters are in the one that learns only.
            assert 0 < found[held] <= 0.51 * found["elements"]
        assert found["buffers"] == alone["buffers"]
    rounding = 0.02 if "precision" in options else 1e-4
    for what in ("first", "trained", "steps", "more", "frozen"):
        assert not second[what] or first[what] == pytest.approx(second[what], rel=1e-6), what
        assert first[what] == pytest.approx(alone[what], rel=rounding, abs=rounding), what
    assert not (first["broken step applied"] or second["broken step applied"] or alone["broken step applied"])
    # The learner that went on saw a broken step and the restarted one did not, so that step left no trace.
    assert first["more after a restart"] == pytest.approx(first["more"], rel=1e-5)
    assert first["weights"] == pytest.approx(alone["weights"], rel=rounding)
    assert first["frozen weights"] == pytest.approx(first["weights"], rel=1e-6)
    assert first["first"] != pytest.approx(first["trained"], rel=2e-3), "the checks must see the update"
