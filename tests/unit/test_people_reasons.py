"""What people wrote about pairs: joined by the rows' ids, and written as a judgment in both orders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from genrm_rl.bootstrap.examples import has_reason, written_examples
from genrm_rl.config import SelectionConfig
from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.types import Verdict
from genrm_rl.judging.verdicts import parse_verdict
from genrm_rl.preferences.nulls import KIND, NULLS, REASONS, null_pairs
from genrm_rl.preferences.sources import load_source
from genrm_rl.preferences.types import PreferencePair
from tests.unit.judging_cases import smollm2_tokenizer

ROWS = [{"id": f"r{i}", "prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(3)]


def load(folder: Path, reasons: list[object]):
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    with gzip.open(folder / "reasons.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in reasons)
    source = SourceConfig(path="pairs.jsonl", rationales="reasons.jsonl.gz")
    pairs, _ = load_source(source, DataConfig(root=str(folder)), seed=0)
    return {pair.meta["row_id"]: pair for pair in pairs}


def test_reasons_are_joined_by_the_id_of_the_row_and_written_in_both_orders(tmp_path):
    said = ["[chosen] is right, [rejected] is not.", "Answer 1 is better", "a long story " * 40, "clear", "short"]
    pairs = load(tmp_path, [{"id": "r1", "rationales": [*said, " "]}, {"id": "elsewhere", "rationales": ["x"]}])
    assert [pairs[f"r{i}"].rationales for i in (0, 2)] == [(), ()]
    encoder = JudgeEncoder(smollm2_tokenizer(), "chat_compact", max_context=512, max_rationale=64)
    examples = written_examples(pairs.values(), encoder, SelectionConfig(max_kept_per_order=2))
    assert len(examples) == 4, "two reasons in each order; none that is too long or numbers the answers by itself"
    for example in examples:
        start = example.loss_mask.index(1)
        text = encoder.chat.decode(example.input_ids[start:])
        first = "A: good 1" in encoder.chat.decode(example.input_ids[:start])
        verdict, rationale = parse_verdict(text, "stop", encoder.grammar)
        assert verdict is (Verdict.PREFERS_A if first else Verdict.PREFERS_B)
        assert rationale in ("A is right, B is not." if first else "B is right, A is not.", "clear")


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ([{"id": "other", "rationales": ["x"]}], "has no reason for any row of the data source `pairs`"),
        ([{"id": "r0"}], "reasons.jsonl.gz:1: a row needs `id`, a text, and `rationales`"),
        ([{"id": "r0", "rationales": ["x"]}, {"id": "r1", "rationales": [3]}], ":2: `rationales` must be a list"),
    ],
)
def test_reasons_that_can_not_be_used_are_one_sentence(reasons, said, tmp_path):
    with pytest.raises(DataError, match=said):
        load(tmp_path, reasons)


def test_the_task_world_has_no_file_of_reasons():
    with pytest.raises(ValueError, match="the task world has none"):
        SourceConfig(world="train", rationales="x.jsonl")


def test_null_negatives_say_why_where_their_text_alone_says_so():
    encoder = JudgeEncoder(smollm2_tokenizer(), "chat_compact", max_context=512, max_rationale=16)
    pairs = [PreferencePair.create(f"question {i}", f"It rains in {i}. Take a coat.", "Yes.") for i in range(2)]
    made = null_pairs(pairs, tuple(NULLS), 0)
    assert {str(pair.meta[KIND]) for pair in made} == set(NULLS)
    assert {str(pair.meta[KIND]) for pair in made if has_reason(pair, encoder)} == set(REASONS)
