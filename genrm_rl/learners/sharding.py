"""Loading under ZeRO-3: every layer is sharded as it is made, so no worker ever holds the whole model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from genrm_rl.config.model import LearnerConfig
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.deepspeed_adapter import engine_config
from genrm_rl.learners.network import HeadKind, TrainedNetwork, load_network


def load_sharded_network(
    model_dir: str | Path,
    config: LearnerConfig,
    *,
    head: HeadKind,
    seed: int = 0,
    points: PointTokens | None = None,
) -> TrainedNetwork:
    """:func:`load_network` for ``zero_stage`` 3; all workers must call it.

    Worker 0 reads the weights and the others get their shards from it. Raises ModelError if the directory is
    incomplete.
    """
    with _sharding(config):
        network = load_network(model_dir, config, head=head, seed=seed, points=points)
    _restore_buffers(network.language)
    if network.score_head is not None:
        # DeepSpeed's own cast to the format that it trains in leaves out a model that is sharded already.
        network.score_head.to(network.language.dtype)
    return network


@contextmanager
def _sharding(config: LearnerConfig) -> Iterator[None]:
    """Inside, transformers makes models under ``deepspeed.zero.Init``."""
    from transformers.integrations import HfDeepSpeedConfig

    # transformers keeps a weak reference only: this name holds sharding on, and its end switches it off.
    switch = HfDeepSpeedConfig(engine_config(config, 1, dist.get_world_size()))
    try:
        yield
    finally:
        del switch


def _restore_buffers(language: nn.Module) -> None:
    """Buffers as they are without sharding: ``zero.Init`` rounds RoPE's float32 frequencies to bfloat16."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        exact = AutoModelForCausalLM.from_config(language.config, dtype=torch.float32)
    for name, buffer in exact.named_buffers():
        owner, _, leaf = name.rpartition(".")
        setattr(language.get_submodule(owner), leaf, nn.Buffer(buffer, persistent=False))
