"""KL over a support, and what the teacher is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genrm_rl.algorithms.distillation import support_kl
from genrm_rl.algorithms.objectives import logprobs_at
from genrm_rl.bootstrap.examples import told_reasons
from genrm_rl.bootstrap.self_distilled import HintLesson
from genrm_rl.config import SelfDistilledConfig
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.learners.packing import Segment, collate
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.types import PreferencePair

TEACHER, STUDENT = (torch.randn(6, 30, generator=torch.Generator().manual_seed(i)) * 3 for i in (1, 2))


def kl(teacher: torch.Tensor, student: torch.Tensor, top_k: int) -> torch.Tensor:
    likely = teacher.topk(top_k, -1).indices
    return support_kl(logprobs_at(student, likely), logprobs_at(teacher, likely))


def test_with_all_tokens_it_is_the_kl_and_with_some_a_lower_bound_that_grows() -> None:
    exact = torch.nn.functional.kl_div(
        TEACHER.log_softmax(-1), STUDENT.log_softmax(-1), reduction="none", log_target=True
    )
    assert kl(TEACHER, STUDENT, 30) == pytest.approx(exact.sum(-1).numpy(), rel=1e-3)
    bounds = [kl(TEACHER, STUDENT, k) for k in (1, 5, 20, 29)]
    for lower, higher in zip(bounds, [*bounds[1:], exact.sum(-1)], strict=True):
        assert (lower <= higher + 1e-3).all()


def test_a_student_that_says_what_the_teacher_says_stays_where_it_is() -> None:
    student = TEACHER.clone().requires_grad_()
    kl(TEACHER, student, 5).sum().backward()
    assert kl(TEACHER, TEACHER, 5).abs().max() < 1e-5 and student.grad.abs().max() < 1e-5


def test_a_certain_teacher_gives_finite_numbers() -> None:
    certain = torch.zeros(1, 30)
    certain[0, 3] = 200.0
    student = STUDENT[:1].clone().requires_grad_()
    loss = kl(certain, student, 2).sum()
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all() and student.grad[0, 3] < 0, "the teacher's token is raised"


@pytest.mark.parametrize("packed", [True, False])
def test_supports_keep_the_order_of_the_taken_positions(packed: bool) -> None:
    segments = [
        Segment((1, 2, 3, 4), np.array([1, 2]), np.array([[7, 8], [9, 10]])),
        Segment((5, 6), np.array([0]), np.array([[11, 12]])),
    ]
    assert collate(segments, packed=packed).support_NK.tolist() == [[7, 8], [9, 10], [11, 12]]
    assert collate([Segment((5, 6), np.array([0]))], packed=packed).support_NK is None


def test_the_teacher_is_told_the_reasons_in_the_order_that_it_sees(tiny_model) -> None:
    """A reason that names the answers by itself may mean the other order, and what does not fit is left out."""
    said = ("[chosen] is right.", "@Response 2 is better", "Answer A is wrong", "better grammar", "[rejected] is rude")
    assert told_reasons(said, "B") == ["B is right.", "better grammar", "A is rude"]
    encoder = JudgeEncoder(load_tokenizer(tiny_model.path), "compact", max_context=320, max_rationale=96)
    pair = PreferencePair.create("add 1 2", "3", "4", rationales=(*said, "[chosen] is right " * 40))
    trace = Trace("t", pair.id, True, "cot", "", "", Verdict.PREFERS_A, None, (), (), "stop", "b", 1.0, 1.0, 0, 0)
    lesson = HintLesson({pair.id: pair}, encoder, SelfDistilledConfig(), 0, None, None, None)  # type: ignore[arg-type]
    text = encoder.chat.decode(lesson.hinted(trace))
    slot = pair.label(swapped=True)
    assert f"why {slot}" in text and f"{slot} is right." in text and "rude" in text
    assert "Response 2" not in text and text.count("is right") == 1
    plain = encoder.prompt_ids(pair.comparison(swapped=True), "cot")
    assert "right" not in encoder.chat.decode(plain), "nothing of it in the student's prompt"
