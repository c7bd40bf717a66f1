"""Distillation as a learner's objective: the student's distribution at each generated token towards a teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genrm_rl.learners.objective import Outputs, Reading
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.learners.packing import Segment


@dataclass(frozen=True)
class DistilledExample:
    """A sampled completion [T] under the student's prompt, with the teacher's K most likely tokens at each position.

    ``support_TK`` are token ids (int64), ``teacher_logp_TK`` the teacher's log-probabilities of them (float32).
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    support_TK: np.ndarray
    teacher_logp_TK: np.ndarray


@dataclass(frozen=True)
class SupportDistillation:
    """KL(student || teacher) per generated token, mean over the tokens of the global batch."""

    reading = Reading(entropy=True)

    def segments(self, example: DistilledExample) -> list[Segment]:
        plain = completion_tokens(example.prompt_ids, example.completion_ids)
        return [replace(plain, support=example.support_TK)]

    def totals(self, batch: Sequence[DistilledExample]) -> dict[str, float]:
        return {"tokens": float(sum(len(example.completion_ids) for example in batch))}

    @property
    def metrics(self) -> dict[str, str]:
        return {"kl_teacher": "tokens", "entropy": "tokens", "logp": "tokens"}

    def loss(self, outputs: Outputs, examples: Sequence[Any], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.distillation import support_kl

        student_NK = outputs.support_NK
        teacher_NK = student_NK.new_tensor(np.concatenate([example.teacher_logp_TK for example in examples]))
        kl = support_kl(student_NK, teacher_NK).sum()
        loss = kl / totals["tokens"] * dp_size
        return loss, {
            "kl_teacher": kl.detach(),
            "entropy": outputs.entropy_N.sum(),
            "logp": outputs.values_N.detach().sum(),
        }
