"""The probe's arithmetic: what passes, and that nothing unclear does."""

from __future__ import annotations

import math

import pytest

from genrm_rl.rollout.parity import ProbeReference, compare, parity_limit

REFERENCE = ProbeReference(((1, 2, 3), (4, 5)), ((-1.0, -2.0), (-0.5,)))


def test_differences_are_in_nats() -> None:
    probe = compare(REFERENCE, [[-1.0, -2.3], [-0.5]], limit_nats=0.2)
    assert probe.mean_abs_difference_nats == pytest.approx(0.1)
    assert probe.max_abs_difference_nats == pytest.approx(0.3)
    assert probe.tokens == 3
    assert probe.passed


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_never_passes(broken: float) -> None:
    assert not compare(REFERENCE, [[-1.0, broken], [-0.5]], limit_nats=1e9).passed


def test_a_missing_answer_is_an_error() -> None:
    with pytest.raises(ValueError):
        compare(REFERENCE, [[-1.0, -2.0]], limit_nats=1.0)


def test_limits_follow_the_number_format_unless_configured() -> None:
    assert parity_limit(None, "float32") == 1e-3
    assert parity_limit(None, "bfloat16") == 0.1
    assert parity_limit(None, "float32", "bfloat16") == 0.1, "a bfloat16 learner rounds, whatever its engines do"
    assert parity_limit(0.5, "float32") == 0.5
