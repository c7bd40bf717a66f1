"""Where a worker computes: what its settings say, never what happens to be visible."""

from __future__ import annotations

import torch

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import EnvironmentProblem


def device_of(config: LearnerConfig) -> torch.device:
    """The GPU that was given to this worker, or the CPU with ``gpus_per_worker`` 0. Raises EnvironmentProblem if the
    settings ask for a GPU and none is visible here."""
    if not config.gpus_per_worker:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise EnvironmentProblem(
            f"learner.gpus_per_worker is {config.gpus_per_worker:g}, and torch sees no GPU in this worker; set it to 0 "
            "for the CPU, or install the GPU packages (make setup EXTRA=gpu); `genrm-rl doctor` shows what is there"
        )
    return torch.device("cuda", torch.cuda.current_device())
