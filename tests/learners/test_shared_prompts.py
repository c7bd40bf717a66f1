"""Answers to one prompt give the same outputs and gradients whether the prompt is computed once or for each of them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.attention import split_attention
from genrm_rl.learners.network import TrainedNetwork, load_network
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.learners.packing import Segment, collate, plan_microbatches
from genrm_rl.learners.shared_prompts import SHORTEST, packed_row, sharing_units

# (length of the prompt, lengths of its answers), by question.
questions = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.integers(1, 12), min_size=1, max_size=5)), min_size=1, max_size=5
)


def answers(shape: list[tuple[int, list[int]]], *, end: bool = False) -> list[Segment]:
    """Shuffled; with ``end`` the position after the last token is taken too, as a critic reads it."""
    rng = random.Random(repr(shape))
    found = []
    for prompt_length, lengths in shape:
        prompt = tuple(rng.randrange(10, 110) for _ in range(prompt_length))
        for length in lengths:
            segment = completion_tokens(prompt, tuple(rng.randrange(10, 110) for _ in range(length)))
            take = np.append(segment.take, len(segment.token_ids) - 1) if end else segment.take
            found.append(Segment(segment.token_ids, take))
    rng.shuffle(found)
    return found


@pytest.fixture(scope="module")
def networks(tiny_model) -> dict[str, TrainedNetwork]:
    config = LearnerConfig(precision="float32")
    return {head: load_network(tiny_model.path, config, head=head, seed=3).eval() for head in ("language", "score")}


def outputs(network: TrainedNetwork, segments: list[Segment], *, share: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Values at the taken positions, and what a sum of them, each with a weight of its own, does to a first layer."""
    network.zero_grad()
    values_N, *_ = network(*collate(segments, packed=True, share=share).network_inputs())
    (values_N * torch.linspace(-1, 1, len(values_N))).sum().backward()
    return values_N.detach(), network.language.get_decoder().layers[0].self_attn.k_proj.weight.grad.clone()


@pytest.mark.parametrize("head", ["language", "score"])
@settings(max_examples=12, deadline=None)
@given(shape=questions)
def test_values_and_gradients_are_those_of_whole_sequences(networks, head, shape):
    segments = answers(shape, end=head == "score")
    alone, alone_gradient = outputs(networks[head], segments, share=False)
    shared, shared_gradient = outputs(networks[head], segments, share=True)
    assert torch.allclose(shared, alone, rtol=1e-4, atol=2e-5)
    scale = float(alone_gradient.abs().max())
    assert torch.allclose(shared_gradient, alone_gradient, rtol=2e-3, atol=2e-5 * scale + 1e-7)


@given(shape=questions)
def test_a_prompt_is_in_the_row_once_and_every_taken_position_predicts_its_token(shape):
    segments = answers(shape)
    batch = collate(segments, packed=True, share=True)
    ids, positions = batch.input_ids_RT[0].tolist(), batch.position_ids_RT[0].tolist()
    expected = [(s.token_ids[p], s.token_ids[p + 1], p) for s in segments for p in s.take]
    found = [
        (ids[i], target, positions[i])
        for i, target in zip(batch.take_N.tolist(), batch.targets_N.tolist(), strict=True)
    ]
    assert found == expected
    whole = [prompt + length for prompt, lengths in shape if prompt < SHORTEST for length in lengths]
    once = [prompt + sum(lengths) for prompt, lengths in shape if prompt >= SHORTEST]
    assert batch.tokens == len(ids) == sum(whole) + sum(once)


@pytest.mark.parametrize("window", [None, 5])
def test_a_model_with_fewer_key_heads_and_a_sliding_window_sees_the_same(window):
    segments = answers([(12, [3, 7, 3]), (9, [4]), (10, [2, 2])])
    rng = torch.Generator().manual_seed(0)
    by_token = torch.randn(3, 200, 4, 8, generator=rng)  # what a layer might make of (token, position)

    def attended(share: bool) -> torch.Tensor:
        batch = collate(segments, packed=True, share=share)
        place = batch.input_ids_RT[0] + batch.position_ids_RT[0]
        q, k, v = (by_token[i, place].transpose(0, 1)[None] for i in range(3))
        out, _ = split_attention(
            torch.nn.Identity(), q, k[:, :2], v[:, :2], None,
            sliding_window=window, segment_lengths=batch.lengths, segment_branches=batch.branches,
        )  # fmt: skip
        return out[0][batch.take_N]

    assert torch.allclose(attended(True), attended(False), atol=1e-6)


@given(questions, st.integers(1, 60))
def test_units_hold_every_example_once_and_keep_the_budget(shape, budget):
    examples = [[segment] for segment in answers(shape)]
    units = sharing_units(examples, budget)
    assert sorted(index for indices, _ in units for index in indices) == list(range(len(examples)))
    for indices, tokens in units:
        row = packed_row([examples[index][0] for index in indices], share=True)
        assert tokens == sum(len(ids) for _, ids, _ in row.pieces)
        assert tokens <= budget or len(indices) == 1


def test_a_pair_that_shares_its_prompt_counts_it_once_and_stays_together():
    prompt = tuple(range(10, 30))
    pair = [completion_tokens(prompt, (1, 2)), completion_tokens(prompt, (3, 4, 5))]
    other = [completion_tokens((7, *prompt), (1,)), completion_tokens(prompt, (2,))]
    assert sharing_units([pair, other, pair], 100) == [([0, 2], 30), ([1], 43)]
    (plan,) = plan_microbatches([[30], [43]], budget=100, workers=1, packed=True)
    assert sorted(plan[0]) == [0, 1]
