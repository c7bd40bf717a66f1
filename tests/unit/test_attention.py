"""Attention of packed rows: which way is chosen, what the kernel is told, and that all ways give the same."""

from __future__ import annotations

import itertools

import pytest
import torch

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import EnvironmentProblem, ModelError
from genrm_rl.learners import attention
from genrm_rl.learners.attention import SPLIT, VARLEN, choose_attention, kernel_attention, kernel_takes, split_attention
from genrm_rl.learners.attention import segment_arguments as told
from genrm_rl.learners.network import load_network
from genrm_rl.learners.packing import collate
from genrm_rl.learners.pair_objectives import last_token

LENGTHS = [(9,), (2, 2, 5, 7), (1, 3, 3, 3, 16, 40)]


def shares(q_HTD, k_HTD, lengths, window, scale):
    """Softmax [H, T, T] over the pairs of one sequence, causal, inside the window; keys have as many heads."""
    owner_T = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    distance = torch.arange(len(owner_T))[:, None] - torch.arange(len(owner_T))[None]
    seen = (owner_T[:, None] == owner_T[None]) & (distance >= 0)
    if window is not None:
        seen &= distance < window
    return (q_HTD @ k_HTD.mT * scale).masked_fill(~seen, -torch.inf).softmax(-1)


def dense(q_HTD, k_HTD, v_HTD, lengths, window, scale=None):
    """Attention by its definition, [T, H, D]."""
    k_HTD, v_HTD = (tensor.repeat_interleave(len(q_HTD) // len(k_HTD), 0) for tensor in (k_HTD, v_HTD))
    return (shares(q_HTD, k_HTD, lengths, window, scale or q_HTD.shape[-1] ** -0.5) @ v_HTD).transpose(0, 1)


def heads(lengths, *, queries=4, keys=2, width=16):
    generator = torch.Generator().manual_seed(sum(lengths))
    return [
        torch.randn(1, count, sum(lengths), width, generator=generator, requires_grad=True)
        for count in (queries, keys, keys)
    ]


@pytest.fixture
def cpu_kernel():
    """PyTorch's ``varlen_attn`` on the CPU: the two ATen operations under it, by their definition, with float32 heads.

    They read the borders, the window (-1: unlimited) and the heads as the GPU's kernel does.
    """

    def read(borders, left):
        return tuple(b - a for a, b in itertools.pairwise(borders.tolist())), None if left == -1 else left + 1

    def forward(q, k, v, borders_q, borders_k, longest_q, longest_k, dropout, causal, debug, **options):
        assert borders_q.dtype == torch.int32 and torch.equal(borders_q, borders_k)
        assert longest_q == longest_k == int(borders_q.diff().max())
        assert options["window_size_right"] == 0 and dropout == 0
        lengths, window = read(borders_q, options["window_size_left"])
        out = dense(*(tensor.transpose(0, 1) for tensor in (q, k, v)), lengths, window, options.get("scale"))
        nothing = torch.empty(0)
        return out.contiguous(), torch.empty(q.shape[1], q.shape[0]), nothing, nothing, nothing

    def backward(grad, q, k, v, out, lse, borders, *_, scale, window_size_left, window_size_right):
        groups = q.shape[1] // k.shape[1]
        q, grad, k, v = (tensor.transpose(0, 1) for tensor in (q, grad, k, v))
        k, v = (tensor.repeat_interleave(groups, 0) for tensor in (k, v))
        p = shares(q, k, *read(borders, window_size_left), scale)
        dp = grad @ v.mT
        ds = p * (dp - (dp * p).sum(-1, keepdim=True)) * scale
        shared = ((part.unflatten(0, (-1, groups)).sum(1)) for part in (ds.mT @ q, p.mT @ grad))
        return tuple(part.transpose(0, 1).contiguous() for part in (ds @ k, *shared))

    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("_flash_attention_forward", forward, "CPU")
        library.impl("_flash_attention_backward", backward, "CPU")
        yield


@pytest.mark.parametrize("window", [None, 4, 100])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_split_attention_is_attention_inside_each_sequence(lengths, window):
    q, k, v = heads(lengths)
    out, _ = split_attention(torch.nn.Module(), q, k, v, None, sliding_window=window, **told(lengths, q.device))
    assert torch.allclose(out[0], dense(q[0], k[0], v[0], lengths, window), atol=1e-5)


@pytest.mark.parametrize("window", [None, 4, 100])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_the_kernels_way_has_the_values_and_gradients_of_the_split_one(cpu_kernel, lengths, window):
    q, k, v = heads(lengths)
    options = told(lengths, q.device) | {"scaling": 0.3, "sliding_window": window}
    weight = torch.randn(1, sum(lengths), 4, 16)
    found = []
    for out in (kernel_attention(q, k, v, **options), split_attention(torch.nn.Module(), q, k, v, None, **options)[0]):
        found.append([out, *torch.autograd.grad((out * weight).sum(), (q, k, v))])
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(*found, strict=True))


def test_a_network_gives_the_kernel_the_borders_of_its_row(cpu_kernel, tiny_model, monkeypatch):
    monkeypatch.setattr(attention, "kernel_takes", lambda query, value: True)
    network = load_network(tiny_model.path, LearnerConfig(gradient_checkpointing=True), head="score").train()
    batch = collate([last_token(range(20, 20 + length)) for length in (30, 4, 4, 11)], packed=True)
    found = []
    for way in (SPLIT, VARLEN):
        network.language.set_attn_implementation(way)
        network.zero_grad()
        score_N, *_ = network(*batch.network_inputs())
        score_N.sum().backward()
        found.append((score_N, network.language.get_decoder().layers[0].self_attn.k_proj.weight.grad))
    assert all(torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4) for ours, theirs in zip(*found, strict=True))


def test_a_row_of_which_nothing_is_said_is_one_sequence(cpu_kernel):
    q, k, v = heads((11,))
    out, _ = split_attention(torch.nn.Module(), q, k, v, None)
    assert torch.allclose(kernel_attention(q, k, v), out, atol=1e-5)


@pytest.mark.parametrize("form", [{"softcap": 30.0}, {"s_aux": torch.zeros(4)}])
def test_attention_that_neither_way_computes_is_refused(form):
    q, k, v = heads((5,))
    with pytest.raises(ModelError, match="learner.attention to eager"):
        split_attention(torch.nn.Module(), q, k, v, None, **form)
    with pytest.raises(ModelError, match="learner.attention to eager"):
        kernel_attention(q, k, v, **form)


@pytest.mark.parametrize(
    ("capability", "built", "flash_attn", "precision", "packed", "chosen"),
    [
        (None, True, True, "bfloat16", True, SPLIT),
        (9, True, False, "bfloat16", True, VARLEN),
        (9, True, True, "bfloat16", True, VARLEN),
        (9, False, True, "bfloat16", True, "flash_attention_2"),
        (9, False, False, "bfloat16", True, SPLIT),
        (7, True, True, "bfloat16", True, SPLIT),
        (9, True, True, "float32", True, SPLIT),
        (9, True, True, "bfloat16", False, "flash_attention_2"),
        (9, True, False, "bfloat16", False, "sdpa"),
    ],
)
def test_auto_takes_the_first_way_that_the_machine_has(
    monkeypatch, capability, built, flash_attn, precision, packed, chosen
):
    find_spec = attention.importlib.util.find_spec
    installed = {"flash_attn": object() if flash_attn else None}
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda name: installed.get(name) or find_spec(name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (capability, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: built)
    assert choose_attention("auto", packed=packed, precision=precision) == chosen
    assert choose_attention("sdpa", packed=packed, precision=precision) == (SPLIT if packed else "sdpa")
    if not (flash_attn and precision == "bfloat16" and capability == 9):
        with pytest.raises(EnvironmentProblem, match="needs the package flash-attn"):
            choose_attention("flash_attention_2", packed=packed, precision=precision)


@pytest.mark.parametrize(
    ("width", "value_width", "dtype", "takes"),
    [
        (64, 64, torch.bfloat16, True),
        (256, 256, torch.float16, True),
        (20, 20, torch.bfloat16, False),
        (264, 264, torch.bfloat16, False),
        (192, 128, torch.bfloat16, False),
        (64, 64, torch.float32, False),
    ],
)
def test_heads_that_the_kernel_does_not_take_go_the_split_way(width, value_width, dtype, takes):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        query, value = (torch.empty(1, 2, 8, size, dtype=dtype, device="cuda") for size in (width, value_width))
        assert kernel_takes(query, value) is takes
    on_cpu = torch.empty(1, 2, 8, width, dtype=dtype)
    assert not kernel_takes(on_cpu, on_cpu)
