"""The learner in one process: objectives move the right way, and the layout of the work changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import ModelError
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.distillation import DistilledExample, SupportDistillation
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.network import load_network
from genrm_rl.learners.objectives import HEAD_KIND, build_objective, completion_tokens
from genrm_rl.learners.pair_objectives import PairLogprobs, ReferencedPair, last_token


def objective_of(kind: str, nll: float = 0.0):
    return build_objective(kind, beta=0.5, label_smoothing=0.0, nll_coefficient=nll)


def examples_of(kind: str, maker, learner: Learner, count: int = 24):
    if kind in ("sft", "direct"):
        return maker.sequences(count) if kind == "sft" else maker.verdicts(count)
    if kind == "pairrm":
        return maker.labeled(count)
    pairs = maker.pairs(count)
    if kind in ("bradley_terry", "points"):
        return pairs
    segments = [segment for pair in pairs for segment in PairLogprobs().segments(pair)]
    sums = [float(values.sum()) for values in learner.logprobs(segments)]
    return [ReferencedPair(pair, sums[2 * i], sums[2 * i + 1]) for i, pair in enumerate(pairs)]


def run_steps(model, config: LearnerConfig, kind: str, maker, steps: int, learning_rate: float = 3e-4):
    points = PointTokens((), (11, 12, 13, 14, 15), (1.0, 2.0, 3.0, 4.0, 5.0)) if kind == "points" else None
    learner = Learner(model.path, config, head=HEAD_KIND[kind], seed=1, points=points)
    examples = examples_of(kind, maker, learner)
    rows = [learner.step(examples, objective_of(kind), learning_rate=learning_rate) for _ in range(steps)]
    return learner, examples, rows


@pytest.mark.parametrize("kind", ["sft", "direct", "dpo", "bradley_terry", "pairrm", "points"])
def test_each_objective_moves_the_right_way(kind, tiny_model, float32, maker):
    learner, examples, rows = run_steps(tiny_model, float32, kind, maker, steps=8, learning_rate=1e-3)
    assert rows[-1].loss < 0.7 * rows[0].loss
    if kind == "sft":
        assert rows[-1].metrics["token_accuracy"] > rows[0].metrics["token_accuracy"]
    elif kind == "direct":
        assert rows[-1].metrics["right_by_order"] >= rows[0].metrics["right_by_order"]
        assert rows[-1].metrics["margin"] > rows[0].metrics["margin"]
    else:
        assert rows[-1].metrics["margin"] > rows[0].metrics["margin"] + 0.3
        assert rows[-1].metrics["accuracy"] >= 0.9
    if kind == "dpo":
        assert rows[0].loss == pytest.approx(0.6931, abs=1e-3), "the reference is the starting model"
        segments = [segment for item in examples for segment in PairLogprobs().segments(item.pair)]
        sums = [float(values.sum()) for values in learner.logprobs(segments)]
        gains = [
            (sums[2 * i] - item.reference_chosen) - (sums[2 * i + 1] - item.reference_rejected)
            for i, item in enumerate(examples)
        ]
        assert min(gains) > 0
    learner.close()


def test_measuring_finds_the_next_steps_loss_and_learns_nothing(tiny_model, float32, maker):
    learner = Learner(tiny_model.path, float32)
    objective, examples = objective_of("sft"), examples_of("sft", maker, learner)
    first, again = (learner.evaluate(examples, objective) for _ in range(2))
    step = learner.step(examples, objective, learning_rate=1e-4)
    assert first == again
    assert first == (pytest.approx(step.loss, rel=1e-5), pytest.approx(step.metrics, rel=1e-5))
    learner.close()


def test_the_nll_anchor_keeps_the_chosen_trace_likely(tiny_model, float32, maker):
    ends = []
    for nll in (0.0, 2.0):
        learner = Learner(tiny_model.path, float32)
        examples = examples_of("dpo", type(maker)(), learner)
        for _ in range(6):
            row = learner.step(examples, objective_of("dpo", nll), learning_rate=1e-3)
        ends.append(row.metrics["chosen_logp"])
        learner.close()
    assert ends[1] > ends[0]


LAYOUTS = {
    "zero2": {"zero_stage": 2},
    "zero3": {"zero_stage": 3},
    "many microbatches": {"tokens_per_microbatch": 90},
    "zero2, many microbatches": {"zero_stage": 2, "tokens_per_microbatch": 90},
    "padded": {"packing": False},
    "gradient checkpointing": {"gradient_checkpointing": True},
}


@pytest.fixture(scope="module")
def plain_losses(tiny_model):
    from tests.learners.conftest import FLOAT32, Maker

    return loss_curve(tiny_model, FLOAT32, Maker())


def loss_curve(model, config, maker) -> list[float]:
    learner, _, rows = run_steps(model, config, "sft", maker, steps=3)
    learner.close()
    return [number for row in rows for number in (row.loss, row.grad_norm)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_work_changes_nothing(layout, tiny_model, float32, maker, plain_losses):
    config = float32.model_copy(update=LAYOUTS[layout])
    assert loss_curve(tiny_model, config, maker) == pytest.approx(plain_losses, rel=1e-4)


@pytest.mark.parametrize("layout", ["zero3", "zero2, many microbatches", "padded"])
def test_both_orders_of_a_pair_give_the_same_in_every_layout(layout, tiny_model, float32):
    from tests.learners.conftest import Maker

    curves = []
    for changes in ({}, LAYOUTS[layout]):
        learner = Learner(tiny_model.path, float32.model_copy(update=changes), seed=1)
        objective = build_objective("direct", beta=1, label_smoothing=0.1, nll_coefficient=0, folded_margin=0.8)
        rows = [learner.step(Maker().verdicts(12), objective, learning_rate=3e-4) for _ in range(2)]
        curves.append([number for row in rows for number in (row.loss, row.grad_norm)])
        learner.close()
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)


def test_bfloat16_follows_float32(tiny_model, float32, maker, plain_losses):
    curve = loss_curve(tiny_model, float32.model_copy(update={"precision": "bfloat16"}), maker)
    assert curve == pytest.approx(plain_losses, rel=0.1)


@pytest.mark.parametrize("options", [{}, {"precision": "bfloat16"}, {"zero_stage": 3}, {"lora_rank": 4}])
def test_a_saved_checkpoint_is_what_the_learner_computes(options, tiny_model, float32, maker, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    learner, examples, _ = run_steps(
        tiny_model, float32.model_copy(update=options), "sft", maker, steps=2, learning_rate=2e-3
    )
    prompt, completion = examples[0].input_ids[:5], examples[0].input_ids[5:]
    (expected,) = learner.logprobs([completion_tokens(prompt, completion)])
    learner.save(tmp_path, tiny_model.path)
    learner.close()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == (torch.bfloat16 if "precision" in options else torch.float32)
    before = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=loaded.dtype)
    found, old = (token_logprobs(model, examples[0].input_ids)[-len(completion) :] for model in (loaded, before))
    tolerance = 0.1 if "precision" in options else 1e-3
    assert torch.allclose(found, expected, atol=tolerance)
    assert (old - expected).abs().max() > 5 * tolerance, "the check must see the update"
    shipped, copied = (AutoTokenizer.from_pretrained(path) for path in (tiny_model.path, tmp_path))
    message = [{"role": "user", "content": "pick 1 2"}]
    assert copied.apply_chat_template(message, tokenize=False) == shipped.apply_chat_template(message, tokenize=False)


@torch.no_grad()
def token_logprobs(model, ids) -> torch.Tensor:
    logits = model(torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    return logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


def test_weights_have_the_names_and_shapes_of_the_parent(tiny_model, float32):
    from safetensors import safe_open

    learner = Learner(tiny_model.path, float32.model_copy(update={"lora_rank": 2}))
    found = {name: tuple(tensor.shape) for name, tensor in learner.weights()}
    learner.close()
    with safe_open(tiny_model.path / "model.safetensors", "pt") as parent:
        assert found == {name: tuple(parent.get_slice(name).get_shape()) for name in parent.keys()}  # noqa: SIM118


@pytest.mark.parametrize("options", [{}, {"zero_stage": 3}])
def test_without_its_adapter_a_learner_is_the_model_that_it_started_from(options, tiny_model, float32, maker):
    segments = [completion_tokens(example.input_ids[:3], example.input_ids[3:]) for example in maker.sequences(8)]
    start = Learner(tiny_model.path, float32)
    expected = start.summed_logprobs(segments)
    start.close()
    learner, examples, rows = run_steps(
        tiny_model, float32.model_copy(update={"lora_rank": 4} | options), "sft", maker, steps=2, learning_rate=2e-3
    )
    moved = learner.summed_logprobs(segments)
    with learner.network.without_adapter():
        assert learner.summed_logprobs(segments) == pytest.approx(expected, abs=1e-3)
    assert learner.summed_logprobs(segments) == pytest.approx(moved, abs=1e-3)
    assert np.abs(moved - expected).max() > 0.05, "the check must see the update"
    assert learner.step(examples, objective_of("sft"), learning_rate=2e-3).loss < rows[-1].loss
    learner.close()


def test_a_score_head_is_saved_beside_the_backbone_and_loaded(tiny_model, float32, maker, tmp_path):
    learner, examples, _ = run_steps(tiny_model, float32, "bradley_terry", maker, steps=3)
    sequences = [example.chosen_ids for example in examples]
    expected = learner.scores([last_token(ids) for ids in sequences])
    learner.save(tmp_path, tiny_model.path)
    learner.close()
    again = Learner(tmp_path, float32, head="score", seed=99)
    assert again.scores([last_token(ids) for ids in sequences]) == pytest.approx(expected, abs=1e-4)
    again.close()


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"precision": "bfloat16"}, marks=pytest.mark.drill), {"zero_stage": 3}]
)
def test_a_restored_state_continues_as_if_nothing_happened(options, tiny_model, float32, maker, tmp_path):
    config = float32.model_copy(update=options)
    learner, examples, _ = run_steps(tiny_model, config, "sft", maker, steps=2)
    learner.save_state(tmp_path, "state", {"step": 2})
    expected = [learner.step(examples, objective_of("sft"), learning_rate=3e-4).loss for _ in range(3)]
    learner.close()
    again = Learner(tiny_model.path, config)
    assert again.load_state(tmp_path, "state")["step"] == 2
    found = [again.step(examples, objective_of("sft"), learning_rate=3e-4).loss for _ in range(3)]
    again.close()
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_cut_off_checkpoint_is_refused_by_name(tiny_model, float32, tmp_path):
    for file in tiny_model.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="model.safetensors"):
        load_network(tmp_path, float32, head="language")


@pytest.mark.parametrize("packed", [True, False])
def test_a_student_moves_to_what_a_teacher_says_at_its_own_tokens(packed, tiny_model, float32, maker):
    learner = Learner(tiny_model.path, float32.model_copy(update={"packing": packed}), seed=1)
    pairs = [(example.input_ids[:8], example.input_ids[8:]) for example in maker.sequences(12)]
    told = [completion_tokens((*prompt, *prompt), completion) for prompt, completion in pairs]  # another prompt
    said = learner.most_likely(told, 5)
    plain = learner.logprobs(told)
    for (ids_TK, logp_TK), logp_T, segment in zip(said, plain, told, strict=True):
        assert (np.diff(logp_TK) <= 0).all(), "the likeliest first"
        target = np.array(segment.token_ids)[segment.take + 1]
        hit = ids_TK == target[:, None]
        assert logp_TK[hit] == pytest.approx(logp_T.numpy()[hit.any(-1)], abs=1e-4)
    examples = [DistilledExample(*pair, *top) for pair, top in zip(pairs, said, strict=True)]
    rows = [learner.step(examples, SupportDistillation(), learning_rate=2e-5).metrics["kl_teacher"] for _ in range(12)]
    assert 0 < rows[-1] < 0.7 * rows[0], rows


def test_peft_loads_the_adapter_beside_a_saved_checkpoint(tiny_model, float32, maker, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    learner, examples, _ = run_steps(
        tiny_model, float32.model_copy(update={"lora_rank": 4}), "sft", maker, steps=2, learning_rate=2e-3
    )
    ids = examples[0].input_ids
    (expected,) = learner.logprobs([completion_tokens(ids[:1], ids[1:])])
    learner.save(tmp_path, tiny_model.path)
    learner.close()
    base = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    before = token_logprobs(base, ids)
    found = token_logprobs(PeftModel.from_pretrained(base, tmp_path / "adapter"), ids)
    assert torch.allclose(found, expected, atol=1e-3)
    assert (before - expected).abs().max() > 5e-3, "the check must see the update"
