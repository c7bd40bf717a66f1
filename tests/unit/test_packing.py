"""The plan of a global batch, and the layout of a microbatch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.learners.examples import SequenceExample
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.learners.packing import Segment, collate, plan_microbatches

sizes_strategy = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=2), min_size=1, max_size=40)


@given(sizes_strategy, st.integers(20, 200), st.integers(1, 3), st.booleans())
def test_every_example_is_in_exactly_one_microbatch(sizes, budget, workers, packed):
    plan = plan_microbatches(sizes, budget=budget, workers=workers, packed=packed)
    seen = [index for share in plan for microbatch in share for index in microbatch]
    assert sorted(seen) == list(range(len(sizes)))
    assert len(plan) == workers
    assert len({len(share) for share in plan}) == 1, "ZeRO's collectives need the same number on every worker"


@given(sizes_strategy, st.integers(20, 200), st.integers(1, 3), st.booleans())
def test_no_microbatch_exceeds_the_budget_unless_one_example_does(sizes, budget, workers, packed):
    for share in plan_microbatches(sizes, budget=budget, workers=workers, packed=packed):
        for microbatch in share:
            lengths = [length for index in microbatch for length in sizes[index]]
            if len(microbatch) > 1:
                cost = sum(lengths) if packed else len(lengths) * max(lengths)
                assert cost <= budget


@given(st.lists(st.integers(1, 50), min_size=8, max_size=60), st.integers(1, 2))
def test_packing_needs_few_microbatches(lengths, workers):
    budget = 100
    plan = plan_microbatches([[length] for length in lengths], budget=budget, workers=workers, packed=True)
    used = sum(len(share) for share in plan)
    # Longest first into the emptiest bin is never worse than half full on average, up to one round of workers.
    assert used <= 2 * sum(lengths) / budget + 2 * workers


def test_an_empty_batch_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        plan_microbatches([], budget=100, workers=1, packed=True)


segments_strategy = st.lists(
    st.lists(st.integers(1, 99), min_size=2, max_size=12).flatmap(
        lambda ids: st.tuples(
            st.just(tuple(ids)), st.sets(st.integers(0, len(ids) - 2), min_size=1).map(lambda taken: sorted(taken))
        )
    ),
    min_size=1,
    max_size=6,
)


@given(segments_strategy, st.booleans())
def test_taken_positions_keep_their_targets_and_their_sequence(raw, packed):
    segments = [Segment(ids, np.array(taken)) for ids, taken in raw]
    batch = collate(segments, packed=packed)
    expected = [(number, ids[p], ids[p + 1], p) for number, (ids, taken) in enumerate(raw) for p in taken]
    flat_ids, flat_positions = batch.input_ids_RT.flatten(), batch.position_ids_RT.flatten()
    found = [
        (int(segment), int(flat_ids[take]), int(target), int(flat_positions[take]))
        for segment, take, target in zip(batch.segment_N, batch.take_N, batch.targets_N, strict=True)
    ]
    assert found == expected
    assert batch.tokens == sum(len(ids) for ids, _ in raw)
    if packed:
        assert batch.input_ids_RT.shape == (1, batch.tokens), "a packed row has no padding"
        assert batch.lengths == tuple(sorted(len(ids) for ids, _ in raw)), "equal lengths stand side by side"
    else:
        assert int(batch.attention_mask_RT.sum()) == batch.tokens


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("pad_id", [0, 7])
def test_an_end_token_that_is_also_the_pad_token_is_learned(packed, pad_id):
    """Loss masks are positions and never ids: a model whose pad token is its end token learns to stop."""
    examples = [
        SequenceExample.from_completion((5, pad_id, 6), (9, 8, pad_id)),  # a turn in the middle ends with it too
        SequenceExample.from_completion((5,), (4, 3, 2, 1, 9, 9, 9, pad_id)),
    ]
    segments = [segment for example in examples for segment in SupervisedTokens().segments(example)]
    batch = collate(segments, packed=packed, pad_id=pad_id)
    for number, example in enumerate(examples):
        learned = batch.targets_N[batch.segment_N == number].tolist()
        assert learned == [token for token, on in zip(example.input_ids, example.loss_mask, strict=True) if on]
        assert learned[-1] == pad_id
