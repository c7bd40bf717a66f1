"""The weights of a learner as others see them: checkpoint names, LoRA merged, gathered one layer at a time; or the
adapter alone, as peft writes it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from genrm_rl.learners.network import TrainedNetwork
from genrm_rl.rollout.shared_weights import TensorMeta

Gathered = Callable[[list[nn.Parameter]], AbstractContextManager[None]]
ADAPTER = "default"  # peft's name of the only one
LAYER = re.compile(r"^.*?\.\d+\.")


@dataclass(frozen=True)
class _Entry:
    """One weight of the checkpoint: its parameter, and the LoRA layer around it with its adapters."""

    name: str
    parameter: nn.Parameter
    owner: nn.Module
    adapters: list[nn.Parameter]

    def layer(self) -> str:
        """``model.layers.3.`` for everything in a block, nothing outside."""
        found = LAYER.match(self.name)
        return found[0] if found else ""

    def merged(self) -> torch.Tensor:
        """The weight with its adapters; all must be gathered."""
        tensor = self.parameter.detach()
        return tensor + self.owner.get_delta_weight(ADAPTER).to(tensor.dtype) if self.adapters else tensor


def adapter_files(network: TrainedNetwork, gathered: Gathered, base: str) -> dict[str, bytes]:
    """The LoRA adapter of the model ``base`` as peft writes it: file name -> content. Every worker must call."""
    from peft.tuners.lora import LoraLayer
    from safetensors.torch import save

    layers = {name: part for name, part in network.language.named_parameters() if ".lora_" in name}
    with gathered(list(layers.values())):
        tensors = {
            f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": part.detach().cpu().clone().contiguous()
            for name, part in layers.items()
        }
    tuned = next(module for module in network.language.modules() if isinstance(module, LoraLayer))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": tuned.r[ADAPTER],
        "lora_alpha": tuned.lora_alpha[ADAPTER],
        "target_modules": sorted({name.split(".lora_")[0].rpartition(".")[2] for name in layers}),
        "bias": "none",
    }
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": save(tensors)}


class LearnerWeights:
    """A :class:`~genrm_rl.rollout.shared_weights.WeightSource`. Every worker must iterate to the end: under ZeRO-3
    gathering a layer is work of all. A tensor is valid until the next one is asked for; tied weights come once.

    ``gathered`` is the learner's engine's method of that name.
    """

    def __init__(self, network: TrainedNetwork, gathered: Gathered) -> None:
        self._gathered = gathered
        self._entries = list(_entries(network))

    def metadata(self) -> list[TensorMeta]:
        """Names, dtypes and full shapes; nothing is gathered."""
        return [
            TensorMeta(e.name, e.parameter.dtype, tuple(getattr(e.parameter, "ds_shape", e.parameter.shape)))
            for e in self._entries
        ]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for _, group in itertools.groupby(self._entries, key=_Entry.layer):
            layer = list(group)
            with self._gathered([part for entry in layer for part in (entry.parameter, *entry.adapters)]):
                for entry in layer:
                    yield entry.name, entry.merged()


def _entries(network: TrainedNetwork) -> Iterator[_Entry]:
    prefix, base = "language.", ".base_layer"
    modules = dict(network.named_modules())
    for name, parameter in network.named_parameters():
        if name.startswith(prefix) and ".lora_" not in name:
            owner = modules[name.rpartition(".")[0].removesuffix(base)]
            adapters = [part for part_name, part in owner.named_parameters() if "lora_" in part_name]
            checkpoint_name = name.removeprefix(prefix).replace(f"{base}.", ".")
            yield _Entry(checkpoint_name, parameter, owner, adapters if name.endswith(f"{base}.weight") else [])
