"""Logits that are made a piece at a time give the same values and the same gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners import network as network_module
from genrm_rl.learners.network import head_is_last, load_network
from genrm_rl.learners.packing import Segment, collate
from placement.shapes import TINY

LENGTHS = (9, 14, 5)
ROWS = 4  # positions whose logits exist at once


def batch(support: bool, packed: bool):
    """Three sequences with all positions taken."""
    rng = np.random.default_rng(0)
    segments = [
        Segment(
            tuple(rng.integers(0, 60, length).tolist()),
            np.arange(length - 1),
            rng.integers(0, 60, (length - 1, 3)) if support else None,
        )
        for length in LENGTHS
    ]
    return collate(segments, packed=packed)


def values_and_gradients(network, tokens, **options):
    """All results of a forward pass, and the gradient of what can be trained on."""
    network.zero_grad()
    found = network(*tokens.network_inputs(), support_NK=tokens.support_NK, **options)
    loss = found[0].sum() + (found[3].square().sum() if found[3] is not None else 0.0)
    loss.backward()
    return found, {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("support", "options"),
    [
        (False, {}),
        (False, {"temperature": 0.7, "entropy": True}),
        (True, {"exact": True}),
        (False, {"top_k": 2}),
    ],
)
def test_pieces_are_the_whole(monkeypatch, packed, support, options):
    config = LearnerConfig(packing=packed)
    network = load_network(TINY, config, head="language")
    tokens = batch(support, packed)
    whole, gradients = values_and_gradients(network, tokens, **options)
    calls = []
    head = network.language.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    monkeypatch.setattr(network_module, "LOGIT_PIECE", ROWS * network.language.config.vocab_size)
    parts, piecewise = values_and_gradients(network, tokens, **options)
    if "exact" not in options:  # that one replaces the head's forward, not the head
        assert calls and max(calls) == ROWS
    for one, other in zip(parts, whole, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)
    assert piecewise.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(piecewise[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()))


def test_a_model_that_goes_on_after_its_head_is_not_cut(monkeypatch):
    network = load_network(TINY, LearnerConfig(), head="language")
    assert head_is_last(network.language.config)
    network.language.config.final_logit_softcapping = 30.0
    assert not head_is_last(network.language.config)
    monkeypatch.setattr(network_module, "LOGIT_PIECE", 1)
    monkeypatch.setattr(network, "_in_pieces", None)  # would fail if it were called
    assert torch.isfinite(network(*batch(False, True).network_inputs())[0]).all()
