"""Example files: what is written is read, and what can't be trained on is refused by name."""

from __future__ import annotations

import tracemalloc

import pyarrow
import pytest

from genrm_rl.errors import DataError
from genrm_rl.learners import examples as examples_module
from genrm_rl.learners.examples import (
    LabeledExample,
    PairExample,
    SequenceExample,
    VerdictExample,
    read_examples,
    write_examples,
)
from genrm_rl.learners.objectives import check_objective_fits
from genrm_rl.learners.schedule import batch_indices, learning_rate


@pytest.mark.parametrize("kind", ["sequences", "verdicts", "pairs", "labeled"])
def test_round_trip(kind, maker, tmp_path):
    examples = getattr(maker, kind)(7)
    first = write_examples(tmp_path / "a.arrow", examples)
    found = read_examples(tmp_path / "a.arrow")
    assert list(found) == examples and found[-1] == examples[-1]
    assert write_examples(tmp_path / "b.arrow", examples) == first, "the same examples give the same bytes"


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (SequenceExample((1, 2, 3), (0, 0, 0), "x"), "at least one token"),
        (SequenceExample((1, 2, 3), (1, 0, 0), "x"), "not the first one"),
        (SequenceExample((1, 2, 3), (0, 1), "x"), "2 mask entries"),
        (PairExample((1, 2), 2, (1, 3), 1, "x"), "chosen_prompt_length is 2"),
        (PairExample((1, 2), 1, (1, 2), 1, "x"), "equal chosen and rejected"),
        (VerdictExample((1, 2), (2, 1), (3, 3), "x"), "one token for A and one for B"),
        (VerdictExample((1, 2), (1, 2), (3, 4), "x"), "two equal orders"),
        (LabeledExample((1, 2), 2, "x"), "label is 2"),
        (LabeledExample((1,), 1, "x"), "fewer than two tokens"),
    ],
)
def test_what_can_not_be_trained_on_is_refused(example, reason, tmp_path):
    with pytest.raises(DataError, match=rf"example 0 \(x\).*{reason}"):
        write_examples(tmp_path / "a.arrow", [example])


def test_no_examples_and_mixed_examples_are_refused(maker, tmp_path):
    with pytest.raises(DataError, match="no training example"):
        write_examples(tmp_path / "a.arrow", [])
    with pytest.raises(DataError, match="example 1 is a PairExample"):
        write_examples(tmp_path / "a.arrow", [*maker.sequences(1), *maker.pairs(1)])


def test_a_file_of_another_kind_is_refused(maker, tmp_path):
    with pytest.raises(DataError, match="reads PairExample rows"):
        check_objective_fits("dpo", maker.sequences(2), "there")
    with pytest.raises(DataError, match="objective direct reads VerdictExample rows"):
        check_objective_fits("direct", maker.sequences(1), "there")
    (tmp_path / "broken.arrow").write_bytes(b"ARROW1 no")
    with pytest.raises(DataError, match="broken.arrow is not a readable Arrow file"):
        read_examples(tmp_path / "broken.arrow")


def test_examples_of_several_pieces_keep_their_order(maker, tmp_path, monkeypatch):
    monkeypatch.setattr(examples_module, "PIECE_TOKENS", 50)
    pairs = maker.pairs(20)
    write_examples(tmp_path / "a.arrow", iter(pairs))
    found = read_examples(tmp_path / "a.arrow")
    assert [found[i] for i in (19, 0, 7, -3)] == [pairs[i] for i in (19, 0, 7, -3)] and len(found) == 20
    with pytest.raises(IndexError):
        found[20]


def test_the_tokens_of_a_file_are_neither_read_nor_kept(tmp_path):
    made = (PairExample((5, *(300 + i,) * 4000), 1, (6, *(400 + i,) * 4000), 1, str(i)) for i in range(300))
    write_examples(tmp_path / "a.arrow", made)
    arrow, python = pyarrow.total_allocated_bytes(), 0
    tracemalloc.start()
    try:
        found = read_examples(tmp_path / "a.arrow")
        assert sum(len(pair.chosen_ids) for pair in found) == 300 * 4001
        python = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a.arrow").stat().st_size > 9e6, "the check must have something to see"
    assert python < 1e6 and pyarrow.total_allocated_bytes() - arrow < 1e6


@pytest.mark.parametrize(("epochs", "steps", "last"), [(1.0, 3, 2), (2.0, 5, 4), (0.5, 2, 1)])
def test_batches_cover_the_epochs_in_an_order_of_the_seed(epochs, steps, last):
    batches = batch_indices(10, epochs=epochs, batch_size=4, seed=1)
    assert (len(batches), len(batches[-1])) == (steps, last)
    flat = [int(index) for batch in batches for index in batch]
    for epoch in range(int(epochs)):
        assert sorted(flat[10 * epoch : 10 * epoch + 10]) == list(range(10))
    again = batch_indices(10, epochs=epochs, batch_size=4, seed=1)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    assert flat != [int(index) for batch in batch_indices(10, epochs=epochs, batch_size=4, seed=2) for index in batch]


def test_the_learning_rate_rises_and_falls_to_the_end():
    rates = [learning_rate(step, total_steps=20, peak=1.0, warmup_ratio=0.1, schedule="cosine") for step in range(20)]
    assert rates[0] == 0.5 and rates[1] == 1.0 and max(rates) == 1.0
    assert rates[2:] == sorted(rates[2:], reverse=True) and 0 < rates[-1] < 0.02
    assert learning_rate(7, total_steps=20, peak=1.0, warmup_ratio=0.1, schedule="constant") == 1.0
