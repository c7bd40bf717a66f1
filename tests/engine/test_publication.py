"""Weights that reach the engine are the learner's, or they are refused and the old ones serve on."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from genrm_rl.errors import WeightSyncError
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.parity import model_logprobs, probe_prompts
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.segments import PREFIX, SHM_DIRECTORY
from genrm_rl.rollout.shared_weights import SharedWeights
from tests.engine.engine_cases import TinyModels, request, sample

pytestmark = pytest.mark.engine


def greedy(pool: EnginePool) -> list[tuple[int, ...]]:
    results = sample(pool, [request(number, temperature=0.0) for number in range(8)])
    return [results[f"r{number}"].token_ids for number in range(8)]


def engine_memory() -> set[str]:
    """Segments of this process; other tests and runs have theirs at the same time."""
    return {name for name in os.listdir(SHM_DIRECTORY) if name.startswith(f"{PREFIX}{os.getpid()}_")}


def test_tied_weights_arrive_exactly(pool: EnginePool, tiny_models: TinyModels) -> None:
    """The trap of vLLM 0.29 on CPU: without repacking, a tied output head keeps the old weights and nobody says so."""
    before = greedy(pool)
    receipt = pool.publish("v1", tiny_models.other)
    assert receipt.probe.passed
    assert receipt.probe.max_abs_difference_nats < 1e-3
    assert receipt.bytes == sum(t.nbytes for t in load_file(tiny_models.other / "model.safetensors").values())
    assert (receipt.version, receipt.engines, receipt.backend) == ("v1", 1, "shared_memory")
    assert greedy(pool) != before
    assert {r.weight_version for r in sample(pool, [request(0)]).values()} == {"v1"}
    assert pool.reports()[0].weight_version == "v1"


def test_greedy_tokens_after_publication_are_the_models(pool: EnginePool, tiny_models: TinyModels) -> None:
    pool.publish("v1", tiny_models.other)
    model = AutoModelForCausalLM.from_pretrained(tiny_models.other, dtype=torch.float32)
    prompt = torch.tensor([request(3).prompt_token_ids])
    expected = model.generate(prompt, max_new_tokens=16, do_sample=False)[0, prompt.shape[1] :].tolist()
    assert list(sample(pool, [request(3, temperature=0.0)])["r3"].token_ids) == expected


def test_cached_prefixes_of_old_weights_are_forgotten(pool: EnginePool, tiny_models: TinyModels) -> None:
    """A prompt of several blocks is in the cache, and the new weights must not answer from it. The parity probe would
    not see it: vLLM computes prompt log-probabilities without its cache."""
    prompt = tuple(6 + position % 100 for position in range(200))
    probe = request(0, prompt_token_ids=prompt, temperature=0.0, max_tokens=4, logprob_token_ids=(40,))
    sample(pool, [probe])
    assert sample(pool, [probe])["r0"].cached_prompt_tokens >= 128, "the old weights' keys and values are there"
    pool.publish("v1", tiny_models.other)
    fresh = sample(pool, [probe])["r0"]
    assert fresh.cached_prompt_tokens == 0
    after = fresh.logprobs_TK[0][0]
    model = AutoModelForCausalLM.from_pretrained(tiny_models.other, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)[40].item()
    assert after == pytest.approx(expected, abs=1e-3)


def test_tensors_in_memory_need_the_learners_answers(pool: EnginePool, tiny_models: TinyModels) -> None:
    tensors = load_file(tiny_models.other / "model.safetensors")
    with pytest.raises(PublicationError, match="need a reference") as refused:
        pool.publish("v1", tensors)
    assert refused.value.phase == "prepare"
    model = AutoModelForCausalLM.from_pretrained(tiny_models.other, dtype=torch.float32)
    receipt = pool.publish("v1", tensors, model_logprobs(model, probe_prompts(tiny_models.base)))
    assert receipt.probe.passed


@pytest.mark.parametrize("damage", ["scaled", "nan"])
def test_weights_corrupted_on_their_way_are_refused(
    pool: EnginePool, tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """One tensor differs between the learner and the segment; the old version serves on, exactly as before."""
    before, memory = greedy(pool), engine_memory()
    fill = SharedWeights._fill

    def corrupt(self: SharedWeights, source: object) -> None:
        fill(self, source)
        tensor = self.tensors()["model.layers.1.mlp.down_proj.weight"]
        tensor.mul_(1.5) if damage == "scaled" else tensor[0].fill_(math.nan)

    with monkeypatch.context() as patch:
        patch.setattr(SharedWeights, "_fill", corrupt)
        # The rollback sends the base weights through the same segment class, so they are prepared before the damage.
        patch.setattr(pool._publisher, "good", pool._publisher.good or _good_base(pool, fill, patch))
        with pytest.raises(WeightSyncError, match=r"refused.*serve 'base'") as refused:
            pool.publish("v1", tiny_models.other)
        good = pool._publisher.good
    pool._publisher.good = good
    assert refused.value.phase == "probe"
    assert pool.version == "base"
    assert pool.reports()[0].weight_version == "base"
    assert greedy(pool) == before
    assert engine_memory() - memory <= {good.payload.name.lstrip("/")}


def _good_base(pool: EnginePool, fill: object, patch: pytest.MonkeyPatch) -> object:
    damaged = SharedWeights._fill
    patch.setattr(SharedWeights, "_fill", fill)
    good = pool._publisher.prepare("base", pool.settings.model_path, None, pool._actors)
    patch.setattr(SharedWeights, "_fill", damaged)
    return good


def test_an_update_that_breaks_half_way_is_undone(
    pool: EnginePool, tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = greedy(pool)
    honest = SharedWeights.update_info

    def cut(self: SharedWeights) -> dict[str, object]:
        info = honest(self)
        if self is not getattr(pool._publisher.good, "payload", None):
            info["names"] = [*info["names"][:-4], "model.layers.9.nowhere", *info["names"][-3:]]
        return info

    if pool._publisher.good is None:
        pool._publisher.good = pool._publisher.prepare("base", pool.settings.model_path, None, pool._actors)
    monkeypatch.setattr(SharedWeights, "update_info", cut)
    with pytest.raises(PublicationError, match="phase 'update'") as failed:
        pool.publish("v1", tiny_models.other)
    assert failed.value.phase == "update"
    monkeypatch.undo()
    assert greedy(pool) == before
    assert pool.publish("v1", tiny_models.other).probe.passed


def test_a_directory_without_weights_touches_no_engine(pool: EnginePool, tmp_path: Path) -> None:
    before = greedy(pool)
    with pytest.raises(PublicationError, match="not touched") as failed:
        pool.publish("v1", tmp_path)
    assert failed.value.phase == "prepare"
    assert greedy(pool) == before
