"""The pool's promises about results: complete, streamed, reproducible, exact, and honest about failures."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from genrm_rl.rollout.pool import EnginePool
from tests.engine.engine_cases import TinyModels, request, sample

pytestmark = pytest.mark.engine


def test_results_stream_and_are_complete(pool: EnginePool) -> None:
    requests = [request(number, max_tokens=4 + 40 * (number % 2)) for number in range(100)]
    arrived: list[str] = []
    stream = pool.generate(requests)
    arrived.append(next(stream).request_id)
    beside = sample(pool, [request(0)])
    assert list(beside) == ["r0"], "another generation goes on beside it, with an id of its own"
    arrived += [result.request_id for result in stream]
    assert sorted(arrived) == sorted(r.request_id for r in requests)
    assert arrived != [r.request_id for r in requests], "short requests must overtake long ones"


def test_a_request_samples_the_same_alone_and_in_a_batch(pool: EnginePool) -> None:
    batch = sample(pool, [request(number) for number in range(40)])
    for number in (3, 17, 31):
        alone = sample(pool, [request(number)])[f"r{number}"]
        assert alone.token_ids == batch[f"r{number}"].token_ids
    other_seed = sample(pool, [request(3, seed=999)])["r3"]
    assert other_seed.token_ids != batch["r3"].token_ids


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.5])
def test_requested_logprobs_are_those_of_the_model(
    pool: EnginePool, tiny_models: TinyModels, temperature: float
) -> None:
    ids = (40, 7, 99)
    result = sample(pool, [request(5, temperature=temperature, logprob_token_ids=ids)])["r5"]
    prompt = request(5).prompt_token_ids
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(tiny_models.base, dtype=torch.float32)
        ids_1T = torch.tensor([prompt + result.token_ids])
        logp_TV = model(ids_1T).logits[0].log_softmax(-1)
    assert len(result.logprobs_TK) == len(result.token_ids)
    for position, row in enumerate(result.logprobs_TK):
        expected = logp_TV[len(prompt) - 1 + position, list(ids)].tolist()
        assert row == pytest.approx(expected, abs=1e-4)


def test_requests_with_and_without_logprobs_share_a_batch(pool: EnginePool) -> None:
    wanted = {0: (), 1: (40,), 2: (40, 7, 99, 11)}
    results = sample(pool, [request(n, logprob_token_ids=wanted[n % 3]) for n in range(30)])
    for number in range(30):
        rows = results[f"r{number}"].logprobs_TK
        assert all(len(row) == len(wanted[number % 3]) for row in rows)
        assert all(math.isfinite(value) for row in rows for value in row)
        if wanted[number % 3]:
            assert len(rows) == len(results[f"r{number}"].token_ids)


def test_text_is_the_decoded_completion(pool: EnginePool, tiny_models: TinyModels) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_models.base)
    plain = sample(pool, [request(2, max_tokens=24)])["r2"]
    assert plain.text == tokenizer.decode(plain.token_ids, skip_special_tokens=True)
    cut = plain.text[len(plain.text) // 2]
    stopped = sample(pool, [request(2, max_tokens=24, stop=(cut,))])["r2"]
    assert stopped.finish_reason == "stop"
    assert stopped.text == plain.text[: plain.text.index(cut)]


def test_a_bad_request_fails_alone(pool: EnginePool) -> None:
    too_long = request(1, request_id="too-long", prompt_token_ids=(6,) * 400)
    outside = request(1, request_id="outside", prompt_token_ids=(6, 10_000))
    results = sample(pool, [request(0), too_long, outside, request(2)])
    for name, reason in (("too-long", "longer than the maximum model length"), ("outside", "out of vocabulary")):
        assert results[name].finish_reason == "failed"
        assert reason in results[name].error
        assert name in results[name].error
    assert {results["r0"].finish_reason, results["r2"].finish_reason} <= {"stop", "length"}


def test_a_late_request_ends_at_its_deadline(pool: EnginePool, monkeypatch: pytest.MonkeyPatch) -> None:
    never_ends = {"max_tokens": 200, "temperature": 1.0}
    monkeypatch.setattr(pool, "rollout", pool.rollout.model_copy(update={"deadline": 0.001}))
    late = sample(pool, [request(number, **never_ends) for number in range(3)])
    assert {result.finish_reason for result in late.values()} == {"deadline"}
    assert all(result.token_ids == () and "0.001 s" in result.error for result in late.values())
    monkeypatch.undo()
    assert sample(pool, [request(0)])["r0"].finish_reason in ("stop", "length")


def test_an_abandoned_generation_leaves_nothing_behind(pool: EnginePool) -> None:
    stream = pool.generate([request(number, max_tokens=64) for number in range(60)])
    next(stream)
    stream.close()
    after = sample(pool, [request(number, max_tokens=4) for number in range(10)])
    assert all(len(result.token_ids) <= 4 for result in after.values())
