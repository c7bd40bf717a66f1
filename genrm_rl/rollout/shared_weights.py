"""Model weights in one named POSIX shared-memory segment: written once by the publisher, mapped by every engine.

The layout is a plain concatenation of the tensors, each aligned to 64 bytes. The segment is no file on any disk, and it
goes away with its owner: Python's resource tracker removes it even if the owner is killed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from genrm_rl.errors import ModelError
from genrm_rl.rollout.segments import new_segment, remove_segment

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class TensorMeta:
    """Name in the checkpoint, dtype and shape of one tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.dtype.itemsize * int(torch.Size(self.shape).numel())


class WeightSource(Protocol):
    """Weights under their checkpoint names: what will come, and the tensors in the same order, as often as asked."""

    def metadata(self) -> list[TensorMeta]: ...

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]: ...


class CheckpointWeights:
    """A directory with safetensors. Nothing is read before iteration; files are mapped, not copied.

    Raises:
        ModelError: there is no safetensors file, or one is damaged.
    """

    def __init__(self, directory: str | Path) -> None:
        self._files = sorted(Path(directory).glob("*.safetensors"))
        if not self._files:
            raise ModelError(f"{directory} holds no *.safetensors; publish a checkpoint that `save_pretrained` wrote")

    def metadata(self) -> list[TensorMeta]:
        """All tensors of all files."""
        return [TensorMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for path in self._files:
            try:
                with safe_open(path, framework="pt", device="cpu") as file:
                    for name in file.keys():  # noqa: SIM118 - not a dict
                        yield name, file.get_tensor(name)
            except SafetensorError as error:
                raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


class TensorWeights:
    """Tensors already in memory, for example a learner's state dict under checkpoint names."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def metadata(self) -> list[TensorMeta]:
        """Names, dtypes and shapes."""
        return [TensorMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self._tensors.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._tensors.items()


def weight_source(source: str | Path | Mapping[str, torch.Tensor]) -> WeightSource:
    """A checkpoint directory or a mapping of tensors as a `WeightSource`."""
    return CheckpointWeights(source) if isinstance(source, str | Path) else TensorWeights(source)


class SharedWeights:
    """The owner's side of a segment: filled at construction, removed by `close`."""

    def __init__(self, source: WeightSource) -> None:
        self.entries = source.metadata()
        self.offsets: list[int] = []
        size = 0
        for entry in self.entries:
            self.offsets.append(size)
            size += -(-entry.nbytes // ALIGNMENT) * ALIGNMENT
        self.nbytes = sum(entry.nbytes for entry in self.entries)
        self._memory = new_segment(size)
        try:
            self._fill(source)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The segment's name under /dev/shm."""
        return self._memory.name

    def _fill(self, source: WeightSource) -> None:
        for (name, tensor), view in zip(source, self.tensors().items(), strict=True):
            if name != view[0]:
                raise ModelError(f"the weight source yields {name} where its metadata announces {view[0]}")
            view[1].copy_(tensor.detach())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Views into the segment, no copies; drop them before `close`."""
        return {
            entry.name: view_tensor(self._memory.buf, entry.dtype, entry.shape, offset)
            for entry, offset in zip(self.entries, self.offsets, strict=True)
        }

    def update_info(self) -> dict[str, object]:
        """What an engine needs to read the segment; plain values, so that it travels through any RPC."""
        return {
            "segment": self.name,
            "names": [entry.name for entry in self.entries],
            "dtype_names": [str(entry.dtype).removeprefix("torch.") for entry in self.entries],
            "shapes": [list(entry.shape) for entry in self.entries],
            "offsets": self.offsets,
        }

    def close(self) -> None:
        """Remove the segment; engines that still map it keep their memory until they let go."""
        remove_segment(self._memory)


def view_tensor(
    buffer: memoryview | mmap.mmap, dtype: torch.dtype, shape: tuple[int, ...] | list[int], offset: int
) -> torch.Tensor:
    """A tensor of ``shape`` over ``buffer`` at ``offset`` bytes, without a copy."""
    count = int(torch.Size(shape).numel())
    if count == 0:
        return torch.empty(tuple(shape), dtype=dtype)
    return torch.frombuffer(buffer, dtype=dtype, count=count, offset=offset).view(tuple(shape))
