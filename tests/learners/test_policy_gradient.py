"""Policy steps of a real learner: temperature, entropy, and steps that are not finite."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from genrm_rl.algorithms.importance import importance_weights
from genrm_rl.errors import TrainingError
from genrm_rl.learners.fit_worker import step_row
from genrm_rl.learners.learner import Learner, StepMetrics
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.learners.policy import PolicyExample, PolicyGradient
from genrm_rl.learners.skips import Skips


def answers(learner: Learner, maker, count: int = 6, temperature: float = 1.0) -> list[PolicyExample]:
    """Examples of the learner's own policy, with advantages of both signs."""
    drawn = [(maker.ids(4, 20), maker.ids(2, 9)) for _ in range(count)]
    empty = np.zeros(0, dtype=np.float32)
    made = []
    for number, (prompt, completion) in enumerate(drawn):
        example = PolicyExample(prompt, completion, empty, empty, empty, empty, empty, empty, empty)
        (logp,) = learner.logprobs([example.segment()], temperature=temperature)
        ones = np.ones(len(completion), dtype=np.float32)
        advantages = ones if number % 2 else -ones
        logp_T = logp.numpy()
        made.append(PolicyExample(prompt, completion, advantages, logp_T, logp_T, ones, logp_T, empty, empty))
    return made


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().float().cpu().clone() for name, tensor in learner.weights()}


def test_a_temperature_divides_the_logits(tiny_model, float32, maker):
    from transformers import AutoModelForCausalLM

    learner = Learner(tiny_model.path, float32)
    examples = answers(learner, maker, temperature=0.6)
    done = learner.step(examples, PolicyGradient(temperature=0.6), learning_rate=0.0)
    learner.close()
    model = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    entropies = []
    for example in examples:
        segment = example.segment()
        with torch.no_grad():
            logits = model(torch.tensor([segment.token_ids])).logits[0, segment.take] / 0.6
        expected = logits.log_softmax(-1)[torch.arange(len(segment.take)), list(example.completion_ids)]
        assert example.old_logp_T == pytest.approx(expected.numpy(), abs=1e-4)
        entropies += torch.distributions.Categorical(logits=logits).entropy().tolist()
    assert done.metrics["entropy"] == pytest.approx(np.mean(entropies), rel=1e-4)
    # A step from where the answers were sampled: no ratio differs from 1, so both sides read the logits alike.
    assert done.metrics["kl_step"] == pytest.approx(0, abs=1e-6) and done.metrics["clip_share"] == 0
    tokens = [example.advantages_T for example in examples]
    assert done.loss == pytest.approx(-np.concatenate(tokens).mean(), abs=1e-5)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_only_update_of_a_step_needs_no_pass_of_its_own_for_the_old_policy(level, tiny_model, float32, maker):
    limits = ("truncate", level, (0.5, 1.5))
    learner, rng = Learner(tiny_model.path, float32), np.random.default_rng(0)
    known, unknown = [], []
    for example in answers(learner, maker):
        off = rng.normal(0, 0.5, len(example.completion_ids)).astype(np.float32)  # as an engine of older weights
        sampled = replace(example, rollout_logp_T=example.old_logp_T + off)
        weights_T = importance_weights(sampled.old_logp_T, sampled.rollout_logp_T, *limits)
        known.append(replace(sampled, importance_T=weights_T.astype(np.float32)))
        unknown.append(replace(sampled, old_logp_T=np.zeros(0), importance_T=np.zeros(0)))
    objective = PolicyGradient(kl_coefficient=0.1, correction=limits)
    two, one = (learner.step(batch, objective, learning_rate=0.0) for batch in (known, unknown))
    learner.close()
    assert two.metrics["importance"] != pytest.approx(1, abs=0.01)
    assert one.loss == pytest.approx(two.loss, abs=1e-5) and one.grad_norm == pytest.approx(two.grad_norm, rel=1e-4)
    assert one.metrics == pytest.approx(two.metrics, abs=1e-5)


class BrokenGradient(SupervisedTokens):
    """A loss that is finite and whose gradient is not."""

    def loss(self, outputs, examples, totals, dp_size):
        loss, sums = super().loss(outputs, examples, totals, dp_size)
        return loss + torch.sqrt((outputs.values_N * 0.0).sum()), sums


LAYOUTS = {
    "plain": {},
    "zero1": {"zero_stage": 1},
    "zero3": {"zero_stage": 3},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_that_is_not_finite_leaves_weights_and_optimizer_alone(layout, tiny_model, float32, maker):
    """First of all, and between two good ones; the learner ends where one ends that never saw the bad steps."""
    config = float32.model_copy(update=LAYOUTS[layout])
    sequences, good = maker.sequences(8), SupervisedTokens()
    clean = Learner(tiny_model.path, config)
    for _ in range(2):
        clean.step(sequences, good, learning_rate=1e-3)
    expected = weights(clean)
    clean.close()
    learner = Learner(tiny_model.path, config)
    examples = answers(learner, maker)
    nan = [replace(examples[0], advantages_T=examples[0].advantages_T * np.nan), *examples[1:]]
    before = weights(learner)
    first = learner.step(nan, PolicyGradient(), learning_rate=1e-3)
    assert not first.applied and math.isnan(first.loss)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(learner).items())
    rows = [learner.step(sequences, good, learning_rate=1e-3)]
    second = learner.step(sequences, BrokenGradient(), learning_rate=1e-3)
    assert not second.applied and math.isfinite(second.loss) and not math.isfinite(second.grad_norm)
    rows.append(learner.step(sequences, good, learning_rate=1e-3))
    assert all(row.applied and row.grad_norm > 0 for row in rows)
    found = weights(learner)
    learner.close()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_several_skipped_steps_in_a_row_are_one_sentence():
    skips = Skips(limit=3)
    bad, good = (
        StepMetrics(loss, 1.0, 1e-3, 9, 0.1, {}, applied) for loss, applied in ((math.nan, False), (1.0, True))
    )
    for done in (bad, bad, good, bad, bad):
        assert skips.see(done, "step 4") is done.applied
    with pytest.raises(TrainingError, match=r"step 5 has loss nan .* 3 optimizer steps in a row .*learner.max_skipped"):
        skips.see(bad, "step 5")
    assert skips.total == 5


def test_a_skipped_step_of_a_fit_is_a_row_without_numbers_that_are_none():
    done = StepMetrics(math.nan, math.inf, 1e-3, 9, 0.1, {"token_accuracy": math.nan}, applied=False)
    row = step_row(3, done)
    assert row == {"step": 3, "learning_rate": 1e-3, "tokens": 9, "seconds": 0.1, "skipped": 1}
    json.dumps(row, allow_nan=False)
