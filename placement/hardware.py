"""GPUs by Ray's accelerator type: memory, bandwidth and matrix speed, from their data sheets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """``memory`` in GiB as CUDA reports it, ``bandwidth`` in GB/s, ``bf16`` in dense TFLOP/s."""

    memory: float
    bandwidth: float
    bf16: float


GPUS = {
    "T4": Gpu(14.5, 320, 65),
    "L4": Gpu(22.0, 300, 121),
    "A10G": Gpu(22.0, 600, 70),
    "L40S": Gpu(44.5, 864, 362),
    "A100-40G": Gpu(39.5, 1555, 312),
    "A100-80G": Gpu(79.0, 2039, 312),
    "H100": Gpu(79.0, 3350, 989),
    "H200": Gpu(139.8, 4800, 989),
    "B200": Gpu(178.0, 8000, 2250),
}
ACCELERATOR_LABEL = "ray.io/accelerator-type"
