"""A learner publishes to engines on other nodes: the weights go from its node to theirs, and never through the
driver's; a checkpoint is read and held on an engine's node."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.drill


@pytest.fixture(scope="module")
def found(cases_of) -> dict[str, dict]:
    return cases_of("publication_cases")


def test_weights_gathered_from_two_workers_reach_both_engines_exactly(found):
    case = found["published"]
    assert case["engines"] == 2
    assert case["difference"] < 1e-3
    assert case["changed"]
    assert case["bytes"] == pytest.approx(2 * case["size"], rel=0.02), "the learner's float32 beside a file of bfloat16"


def test_the_driver_holds_no_weights(found):
    assert not found["published"]["in_driver"]


def test_an_engine_that_restarts_gets_the_published_weights_though_the_learner_has_trained_on(found):
    assert found["restarted"]["same"]
    assert found["restarted"]["versions"] == ["v1", "v1"]


def test_a_refused_publication_is_undone_from_the_learners_copy(found):
    case = found["refused"]
    assert (case["phase"], case["version"]) == ("probe", "v1")
    assert case["same"]


def test_copies_go_when_the_engines_have_loaded_them(found):
    assert found["again"]["passed"]
    assert found["again"]["versions"] == ["v2", "v2"]
    assert found["again"]["segments"] == 1, "the last good version at the learner, for restarts and for the way back"


def test_a_checkpoint_is_held_on_an_engines_node_and_not_by_the_driver(found):
    case = found["checkpoint"]
    assert case["passed"]
    assert case["same"]
    assert not case["in_driver"]


def test_an_engine_that_restarts_after_the_holder_is_lost_gets_the_checkpoint(found):
    assert found["holder_lost"]["same"]
    assert found["holder_lost"]["versions"] == ["checkpoint", "checkpoint"]
