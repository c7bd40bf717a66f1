"""Packed, padded and one-by-one forward passes of the shipped model give the same losses."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.examples import PairExample, SequenceExample, VerdictExample
from genrm_rl.learners.network import TrainedNetwork, load_network
from genrm_rl.learners.objective import Outputs
from genrm_rl.learners.objectives import build_objective
from genrm_rl.learners.packing import collate
from genrm_rl.learners.pair_objectives import ReferencedPair, last_token

NETWORKS: dict[tuple[str, bool], TrainedNetwork] = {}


@pytest.fixture(autouse=True, scope="module")
def networks(tiny_model):
    for head in ("language", "score"):
        for packed in (True, False):
            config = LearnerConfig(precision="float32", packing=packed)
            NETWORKS[head, packed] = load_network(tiny_model.path, config, head=head, seed=3).eval()
    yield
    NETWORKS.clear()


def loss_of(kind: str, examples, *, packed: bool) -> tuple[float, torch.Tensor]:
    """Loss of all examples in one microbatch, and the gradient of the first layer's query projection."""
    objective = build_objective(kind, beta=0.3, label_smoothing=0.05, nll_coefficient=0.5, folded_margin=0.8)
    network = NETWORKS["score" if kind in ("bradley_terry", "pairrm") else "language", packed]
    segments = [segment for example in examples for segment in objective.segments(example)]
    batch = collate(segments, packed=packed)
    network.zero_grad()
    values_N, correct_N, _, support_NK, _ = network(*batch.network_inputs(), support_NK=batch.support_NK)
    outputs = Outputs(values_N, correct_N, batch.segment_N, batch.segments, support_NK=support_NK)
    loss, _ = objective.loss(outputs, examples, objective.totals(examples), 1)
    loss.backward()
    gradient = network.language.get_decoder().layers[0].self_attn.q_proj.weight.grad
    return loss.item(), gradient.clone()


def draw(lengths: list[int]) -> tuple[random.Random, list[tuple[int, ...]]]:
    rng = random.Random(sum(lengths))
    return rng, [tuple(rng.randrange(10, 110) for _ in range(length)) for length in lengths]


lengths_strategy = st.lists(st.integers(3, 70), min_size=2, max_size=8)


def assert_same(kind: str, examples) -> None:
    packed, packed_gradient = loss_of(kind, examples, packed=True)
    padded, padded_gradient = loss_of(kind, examples, packed=False)
    assert packed == pytest.approx(padded, rel=2e-5, abs=2e-5)
    assert torch.allclose(
        packed_gradient, padded_gradient, rtol=2e-3, atol=2e-5 * float(padded_gradient.abs().max()) + 1e-7
    )


@settings(max_examples=15)
@given(lengths_strategy)
def test_sft(lengths):
    rng, drawn = draw(lengths)
    cuts = [rng.randrange(1, len(ids)) for ids in drawn]
    assert_same("sft", [SequenceExample.from_completion(ids[:c], ids[c:]) for ids, c in zip(drawn, cuts, strict=True)])


@settings(max_examples=15)
@given(lengths_strategy)
def test_dpo(lengths):
    rng, drawn = draw(lengths)
    pairs = [
        PairExample(a, rng.randrange(1, len(a)), b, rng.randrange(1, len(b)))
        for a, b in zip(drawn, reversed(drawn), strict=True)
    ]
    assert_same("dpo", [ReferencedPair(pair, -3.0 - i, -4.0) for i, pair in enumerate(pairs)])


def verdicts(lengths: list[int]) -> list[VerdictExample]:
    _, drawn = draw(lengths)
    return [VerdictExample(a, b, (40, 50)) for a, b in zip(drawn, reversed(drawn), strict=True) if a != b]


@settings(max_examples=15)
@given(st.lists(st.integers(3, 70), min_size=2, max_size=8, unique=True))
def test_direct(lengths):
    assert_same("direct", verdicts(lengths))


def test_direct_has_the_loss_and_the_gradient_of_a_plain_computation(tiny_model):
    from transformers import AutoModelForCausalLM

    examples = verdicts([5, 33, 64, 8])
    plain = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32, attn_implementation="eager")
    total = torch.zeros(())
    for example in examples:
        ab, ba = (plain(torch.tensor([ids])).logits[0, -1] for ids in (example.ab_ids, example.ba_ids))
        margin = ((ab[40] - ab[50]) - (ba[40] - ba[50])) / 2
        folded = 0.95 * F.softplus(-margin) + 0.05 * F.softplus(margin)
        orders = ((ab.log_softmax(-1), (40, 50)), (ba.log_softmax(-1), (50, 40)))
        likelihood = sum(-0.95 * logp[right] - 0.05 * logp[wrong] for logp, (right, wrong) in orders) / 2
        total = total + (0.8 * folded + 0.2 * likelihood) / len(examples)
    total.backward()
    loss, gradient = loss_of("direct", examples, packed=True)
    assert loss == pytest.approx(total.item(), rel=2e-5)
    expected = plain.model.layers[0].self_attn.q_proj.weight.grad
    assert torch.allclose(gradient, expected, rtol=2e-3, atol=2e-5 * float(expected.abs().max()) + 1e-7)


def test_the_letters_are_compared_in_float32_where_the_weights_are_bfloat16(tiny_model):
    network = load_network(tiny_model.path, LearnerConfig(precision="bfloat16"), head="language").eval()
    objective = build_objective("direct", beta=1, label_smoothing=0, nll_coefficient=0)
    batch = collate([s for example in verdicts([9, 30, 12]) for s in objective.segments(example)], packed=True)
    seen: list[torch.Tensor] = []
    head = network.language.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        (exact_N, rounded_N) = (
            network(*batch.network_inputs(), support_NK=batch.support_NK, exact=exact)[3].diff(dim=-1)[:, 0].abs()
            for exact in (True, False)
        )
    hook.remove()
    logits_NV = seen[0][0].float() @ head.weight.float().T
    expected_N = (logits_NV[:, 40] - logits_NV[:, 50]).abs()
    assert torch.allclose(exact_N, expected_N, atol=1e-5)
    assert not torch.allclose(rounded_N, expected_N, atol=1e-5)


@settings(max_examples=15)
@given(lengths_strategy)
def test_bradley_terry(lengths):
    _, drawn = draw(lengths)
    assert_same("bradley_terry", [PairExample(a, 1, b, 1) for a, b in zip(drawn, reversed(drawn), strict=True)])


def test_packed_log_probabilities_equal_transformers_one_sequence_at_a_time(tiny_model):
    from transformers import AutoModelForCausalLM

    _, drawn = draw([5, 33, 64, 2, 17])
    plain = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32, attn_implementation="eager")
    objective = build_objective("sft", beta=1, label_smoothing=0, nll_coefficient=0)
    segments = [objective.segments(SequenceExample.from_completion(ids[:1], ids[1:]))[0] for ids in drawn]
    batch = collate(segments, packed=True)
    with torch.no_grad():
        values_N, *_ = NETWORKS["language", True](*batch.network_inputs())
        for number, ids in enumerate(drawn):
            logits = plain(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            expected = logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
            assert torch.allclose(values_N[batch.segment_N == number], expected, atol=2e-4)


@pytest.mark.parametrize("packed", [True, False])
def test_a_score_is_the_same_alone_and_beside_a_longer_sequence(packed):
    """Bradley-Terry reads the last token by its position: neither the pad id inside a chat nor padding beside a
    sequence ten times as long moves it."""
    rng, _ = draw([9])
    pad = 0
    chat = tuple(pad if index % 4 == 3 else rng.randrange(10, 110) for index in range(12))
    sequences = [chat, (*chat, pad), tuple(rng.randrange(10, 110) for _ in range(120))]
    network = NETWORKS["score", packed]
    with torch.no_grad():
        alone = [network(*collate([last_token(ids)], packed=packed).network_inputs())[0].item() for ids in sequences]
        batch = collate([last_token(ids) for ids in sequences], packed=packed, pad_id=pad)
        together, *_ = network(*batch.network_inputs())
    assert together.tolist() == pytest.approx(alone, abs=1e-4)
    assert abs(alone[0] - alone[1]) > 1e-3, "a pad id that belongs to the text is a token like the others"
