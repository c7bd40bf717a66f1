"""Waiting for room on a real Ray of several nodes with labels and pretended GPUs, all on this machine."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.drill


@pytest.fixture(scope="module")
def found(cases_of) -> dict[str, dict]:
    return cases_of("acquire_cases")


def test_a_group_waits_with_a_reason_until_nodes_join(found):
    case = found["pending"]
    assert case["nodes"] == ["rollout"] * 4
    assert any("waiting for 4 x (1 GPU + 1 CPU) on nodes with label pool=rollout for the engines" in line
               and "0 such nodes up" in line for line in case["said"]), case["said"]  # fmt: skip
    assert any("1 such node up with 2 GPU + 4 CPU in all" in line for line in case["said"]), case["said"]


def test_roles_go_to_the_nodes_of_their_pool(found):
    assert set(found["learner_pool"]["nodes"]) == {"learner"}
    assert found["score_tasks"]["nodes"] == ["learner"] * 6, "scoring is work of the learner's pool"


def test_a_deadline_ends_the_wait_with_one_sentence_and_leaves_nothing_behind(found):
    case = found["deadline"]
    assert "no room after" in case["error"]
    assert "8 x (1 GPU + 1 CPU)" in case["error"]
    assert "lower rollout.engines" in case["error"]
    assert case["pending_after"] == 0


def test_what_a_fixed_machine_never_has_is_refused_at_once(found):
    case = found["never"]
    assert "3 GPU are needed on one node and the largest has 2" in case["error"]
    assert case["groups_made"] == 0
    assert "no node has the label pool=judge" in found["no_pool"]["error"]
    assert "12 GPU are needed and there are 4" in found["too_many"]["error"]


def test_models_that_take_turns_share_the_gpu_of_their_bundle(found):
    case = found["shared"]
    assert len(case["gpus"]) == 2, "two workers, each on a GPU of its own"
    assert all(len(set(ids)) == 1 for ids in case["gpus"].values()), case["gpus"]
    assert len(set(case["nodes"])) == 1


def test_room_comes_back_when_a_lost_node_is_replaced(found):
    assert found["node_loss"]["states"] == ["CREATED", "RESCHEDULING", "CREATED"]
