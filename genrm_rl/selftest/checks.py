"""What is checked, in which process, within which time, and what a person does when it fails. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Group = Literal["memory", "learner", "engine"]
Status = Literal["ok", "failed", "skipped"]
Figures = dict[str, float | str]


@dataclass(frozen=True)
class Machine:
    """What the checks run on: ``gpus`` in number (0: everything runs on the CPU) and ``gpu_gib`` of the first one."""

    gpus: int = 0
    gpu_name: str = ""
    gpu_gib: float = 0.0

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Of every role."""
        return "cuda" if self.gpus else "cpu"

    def refusal(self, check: Check) -> str | None:
        """Why this machine can't run a check, None if it can."""
        if self.gpus >= check.gpus:
            return None
        return f"needs {check.gpus} GPU{'s' * (check.gpus > 1)}, and this machine has {self.gpus}"


@dataclass(frozen=True)
class Check:
    """One check. ``limit`` in seconds includes what it starts; ``proves`` and ``way_out`` are shown to people."""

    name: str
    group: Group
    limit: float
    proves: str
    way_out: str
    gpus: int = 0


@dataclass(frozen=True)
class Place:
    """Where the checks of one process work: the machine, a folder for models and runs."""

    machine: Machine
    folder: Path


@dataclass(frozen=True)
class Finding:
    """What became of a check. ``sentence`` says what was wrong, or why it was skipped."""

    check: str
    status: Status
    seconds: float = 0.0
    figures: Figures = field(default_factory=dict)
    sentence: str = ""


class CheckFailed(Exception):
    """A check came out wrong; its figures so far are part of the finding."""

    def __init__(self, sentence: str, figures: Figures | None = None) -> None:
        super().__init__(sentence)
        self.figures = figures or {}


# Of the processes of a group. glibc keeps small blocks that were freed, and with them a process looks larger.
ENVIRONMENT: dict[Group, dict[str, str]] = {
    "memory": {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "1000000"}
}
# In the order in which they run: those of one process share what they start.
CHECKS = (
    Check(
        "learner_memory",
        "memory",
        180,
        "the peak memory of a step under ZeRO-3 and ZeRO-2 is what `genrm-rl plan` predicts",
        "plan with more room (learner.tokens_per_microbatch halves the activations), and report the figures",
    ),
    Check(
        "learner_logits",
        "learner",
        240,
        "a step over 16k tokens with a vocabulary of 128k takes less than 4 GB",
        "set learner.tokens_per_microbatch lower, and report the figures",
    ),
    Check(
        "learner_parity",
        "learner",
        240,
        "five optimizer steps have the losses of a plain PyTorch loop in float32 on the CPU",
        "do not train here: reinstall torch and DeepSpeed as locked (make setup), and look at the driver's version",
    ),
    Check(
        "learner_offload",
        "learner",
        240,
        "a learner that leaves its GPU between two steps learns the same, and gives its memory back",
        "leave placement at fixed, and report the figures",
    ),
    Check(
        "learner_attention",
        "learner",
        240,
        "every attention that can run here gives the same loss and gradient; tokens/s of each on mixed lengths",
        "set learner.attention to sdpa, and report the figures",
    ),
    Check(
        "learner_speed",
        "learner",
        240,
        "tokens/s of the learner, and its share of what a matrix product reaches here",
        "another program may use the machine; on a GPU see learner.attention and learner.gradient_checkpointing",
    ),
    Check(
        "engine_parity",
        "engine",
        300,
        "engine and learner give the same log-probabilities to what the engine sampled",
        "rewards would be learned from wrong ratios: set VLLM_LOGGING_LEVEL=INFO, and compare the attention backends",
    ),
    Check(
        "publication_shared_memory",
        "engine",
        120,
        "a learner's new weights reach the engine through shared memory",
        "look at the size of /dev/shm (df -h /dev/shm): it must hold the model twice",
    ),
    Check(
        "pool_speed",
        "engine",
        300,
        "generated tokens/s of the engine pool against bare vLLM with the same settings",
        "the driver is short of CPU time: give it a core of its own",
    ),
    Check(
        "alignment",
        "engine",
        400,
        "three steps of alignment with policy, reference, learner and served judge on this one machine",
        "run `genrm-rl doctor`, then `genrm-rl plan` with your own config",
    ),
    Check(
        "alignment_shared",
        "engine",
        500,
        "the same with placement shared: engines and judge sleep while the learner works, and the learner leaves the "
        "GPU while they do",
        "leave placement at fixed; the last lines of the log say whose turn it was",
    ),
    Check(
        "sleep",
        "engine",
        240,
        "a sleeping engine gives its GPU memory back, and wakes with the weights that are published",
        "set rollout.sleep to off and give engines and learners GPUs of their own",
        gpus=1,
    ),
    Check(
        "publication_ipc",
        "engine",
        240,
        "a learner's weights reach an engine on the same GPU over CUDA IPC",
        "set rollout.weight_backend to shared_memory; in a container CUDA IPC needs --ipc=host",
        gpus=1,
    ),
    Check(
        "publication_nccl",
        "engine",
        300,
        "a learner's weights reach two engines on other GPUs over NCCL",
        "set rollout.weight_backend to shared_memory; NCCL_DEBUG=INFO shows what NCCL tried",
        gpus=2,
    ),
)
NAMES = tuple(check.name for check in CHECKS)


def in_processes(checks: Sequence[Check]) -> list[list[Check]]:
    """Checks by the process that they share, in their order."""
    groups: dict[Group, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.group, []).append(check)
    return list(groups.values())
