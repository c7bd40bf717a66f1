"""Importance weights between engine and learner."""

from __future__ import annotations

import numpy as np
import pytest

from genrm_rl.algorithms.importance import importance_weights

LIMITS = (0.5, 2.0)
ENGINE = np.log(np.array([0.2, 0.2, 0.2]))
LEARNER = np.log(np.array([0.02, 0.2, 0.8]))  # ratios 0.1, 1, 4


def test_truncation_only_truncates():
    assert importance_weights(LEARNER, ENGINE, "truncate", "token", LIMITS) == pytest.approx([0.1, 1.0, 2.0])


def test_a_mask_leaves_out_what_is_outside_and_weighs_the_rest():
    assert importance_weights(LEARNER, ENGINE, "mask", "token", LIMITS) == pytest.approx([0.0, 1.0, 0.0])


def test_off_is_no_weight():
    assert importance_weights(LEARNER, ENGINE, "off", "sequence", LIMITS) == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(("correction", "expected"), [("truncate", 0.4 ** (1 / 3)), ("mask", 0.4 ** (1 / 3))])
def test_a_sequence_has_the_geometric_mean_of_its_tokens(correction, expected):
    assert importance_weights(LEARNER, ENGINE, correction, "sequence", LIMITS) == pytest.approx([expected] * 3)


def test_a_sequence_outside_of_the_limits_is_left_out_as_a_whole():
    far = LEARNER - np.log(4)
    assert importance_weights(far, ENGINE, "mask", "sequence", LIMITS).tolist() == [0.0, 0.0, 0.0]
    assert importance_weights(far + 10, ENGINE, "truncate", "sequence", LIMITS).tolist() == [2.0, 2.0, 2.0]


def test_a_token_that_the_engine_thought_impossible_has_a_finite_weight():
    weights = importance_weights(np.array([-1.0]), np.array([-2000.0]), "mask", "token", (0.0, 1e12))
    assert np.isfinite(weights).all()
