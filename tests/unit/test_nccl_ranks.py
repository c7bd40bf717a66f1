"""Every worker of every engine has an NCCL rank of its own; the trainer is rank 0."""

from __future__ import annotations

import pytest

from genrm_rl.rollout.sync_client import rank_offsets


@pytest.mark.parametrize(("engines", "tensor_parallel"), [(1, 1), (2, 1), (3, 4), (1, 8)])
def test_ranks_neither_collide_nor_leave_a_gap(engines, tensor_parallel):
    world = 1 + engines * tensor_parallel
    infos = rank_offsets({"rank_offset": 1, "world_size": world}, engines, tensor_parallel)
    ranks = [0, *(info["rank_offset"] + worker for info in infos for worker in range(tensor_parallel))]
    assert sorted(ranks) == list(range(world))
    assert {info["world_size"] for info in infos} == {world}


def test_what_names_no_rank_is_the_same_for_all():
    assert rank_offsets({"packed": True}, 3, 2) == [{"packed": True}] * 3
