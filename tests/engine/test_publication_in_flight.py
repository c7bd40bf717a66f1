"""Weights that are published while requests run: each ends once, and its tokens are of the weights that it names."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.parity import ProbeReference, probe_prompts, reference_logprobs
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.shared_weights import SharedWeights
from tests.engine.engine_cases import TinyModels, request, sample

pytestmark = pytest.mark.engine


def long_requests(count: int) -> list[GenerationRequest]:
    """More than the engine decodes at once, and the first is short: when it is there, most others are under way."""
    return [request(i, max_tokens=200 if i else 4, sampled_logprobs=True, top_p=1.0) for i in range(count)]


def reference_of(model: Path) -> ProbeReference:
    """Computed before anything runs, so that the publication itself is short."""
    return reference_logprobs(model, probe_prompts(model))


def sample_and_publish(
    pool: EnginePool, requests: list[GenerationRequest], version: str, model: Path
) -> list[GenerationResult]:
    """All results; the weights are published when the first is there."""
    reference, stream = reference_of(model), pool.generate(requests)
    results = [next(stream)]
    receipt = pool.publish(version, model, reference)
    assert receipt.probe.passed
    return results + list(stream)


def test_the_same_weights_change_no_token_of_two_generations_that_share_the_engine(
    pool: EnginePool, tiny_models: TinyModels
) -> None:
    """A token that is lost or sampled twice on the way would change all that follow it."""
    requests = long_requests(40)
    undisturbed = {name: result.token_ids for name, result in sample(pool, requests).items()}
    with ThreadPoolExecutor(1) as other:
        beside = other.submit(sample, pool, requests)
        results = sample_and_publish(pool, requests, "again", tiny_models.base)
    assert {result.request_id: result.token_ids for result in results} == undisturbed
    assert {name: result.token_ids for name, result in beside.result().items()} == undisturbed
    assert len(results) == len(requests), "each ends exactly once"
    assert any(result.later_versions for result in results), "some were under way"
    assert {result.weight_version for result in results} == {"base", "again"}


def test_each_span_of_tokens_is_of_the_weights_that_it_names(pool: EnginePool, tiny_models: TinyModels) -> None:
    """Until the publication the old model, from then on the new one over the old one's keys and values."""
    requests = {each.request_id: each for each in long_requests(40)}
    results = sample_and_publish(pool, list(requests.values()), "v1", tiny_models.other)
    old, new = (AutoModelForCausalLM.from_pretrained(path) for path in (tiny_models.base, tiny_models.other))
    carried = [result for result in results if result.later_versions and result.later_versions[0][0] > 1]
    whole = [result for result in results if not result.later_versions]
    assert carried and {result.weight_version for result in whole} == {"base", "v1"}
    for result in carried[:6]:
        ((first, version),) = result.later_versions
        assert (result.weight_version, version) == ("base", "v1")
        expected = logprobs_over(old, new, requests[result.request_id].prompt_token_ids, result.token_ids, first)
        assert result.sampled_logprobs_T == pytest.approx(expected, abs=1e-3)
    for result in whole[:2] + whole[-2:]:
        model = old if result.weight_version == "base" else new
        prompt = requests[result.request_id].prompt_token_ids
        expected = logprobs_over(model, model, prompt, result.token_ids, len(result.token_ids))
        assert result.sampled_logprobs_T == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
def logprobs_over(
    old: torch.nn.Module, new: torch.nn.Module, prompt: tuple[int, ...], answer: tuple[int, ...], first: int
) -> list[float]:
    """Log-probabilities of the answer's tokens where ``old`` has sampled ``first`` of them: the last of these is the
    first token that ``new`` reads."""
    ids_1T = torch.tensor([[*prompt, *answer]])
    read = len(prompt) + first - 1
    before = old(ids_1T[:, :read], use_cache=True)
    after = new(ids_1T[:, read:], past_key_values=before.past_key_values, use_cache=True)
    own_TV = old(ids_1T).logits[0, len(prompt) - 1 : read]
    logp_TV = torch.cat([own_TV, after.logits[0]]).log_softmax(-1)
    if first == len(answer):
        logp_TV = old(ids_1T).logits[0, len(prompt) - 1 :].log_softmax(-1)
    return [logp_TV[place, token].item() for place, token in enumerate(answer)]


def test_what_refused_weights_have_sampled_is_given_to_nobody(
    pool: EnginePool, tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sample(pool, [request(0)])["r0"].token_ids
    pool._publisher.good = pool._publisher.good or pool._publisher.prepare(
        "base", pool.settings.model_path, None, pool._actors
    )
    fill, reference = SharedWeights._fill, reference_of(tiny_models.other)

    def corrupt(self: SharedWeights, source: object) -> None:
        fill(self, source)
        self.tensors()["model.layers.1.mlp.down_proj.weight"][0].fill_(math.nan)

    stream = pool.generate(long_requests(40))
    next(stream)
    with monkeypatch.context() as patch:
        patch.setattr(SharedWeights, "_fill", corrupt)
        with pytest.raises(PublicationError, match="refused"):
            pool.publish("v1", tiny_models.other, reference)
    with pytest.raises(PublicationError, match="refused while answers"):
        list(stream)
    assert sample(pool, [request(0)])["r0"].token_ids == before
