"""What people wrote about pairs: joined by the rows' ids, and written as a judgment in both orders."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from genrm_rl.bootstrap.examples import has_reason, written_examples, written_pair_examples
from genrm_rl.bootstrap.select import Reason, TraceSelection, written_instead
from genrm_rl.config import SelectionConfig
from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.types import Verdict
from genrm_rl.judging.verdicts import parse_verdict
from genrm_rl.preferences.nulls import KIND, NULLS, REASONS, null_pairs
from genrm_rl.preferences.sources import load_source
from genrm_rl.preferences.types import PreferencePair
from tests.unit.judging_cases import smollm2_tokenizer, tiny_tokenizer
from tests.unit.test_selection import trace

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


def test_a_written_reason_stands_against_its_mirror_and_the_judges_own_wrong_traces():
    encoder = JudgeEncoder(tiny_tokenizer(), "compact", max_context=512, max_rationale=64)
    told = PreferencePair.create("add 1 1", "2", "", rationales=("[rejected] is empty",))
    plain = PreferencePair.create("add 1 2", "3", "4")
    a_b = {"A": Verdict.PREFERS_A, "B": Verdict.PREFERS_B}
    right, wrong = a_b[told.label()], a_b[told.label(swapped=True)]
    traces = [trace(told.id, 0, right), trace(told.id, 1, wrong), trace(told.id, 2, wrong), trace(plain.id, 0, right)]
    codes = (Reason.KEPT, Reason.WRONG_VERDICT, Reason.WRONG_VERDICT, Reason.KEPT)
    selections = written_instead(
        [TraceSelection(each, code) for each, code in zip(traces, codes, strict=True)],
        {told.id},
        {told.id: told.label(), plain.id: "A" if right is Verdict.PREFERS_A else "B"},
    )
    assert [item.reason for item in selections] == [Reason.WRITTEN_INSTEAD, *codes[1:]]
    decode = encoder.chat.decode
    examples = written_pair_examples(selections, {told.id: told}, encoder, SelectionConfig(pairs_per_order=1))
    said = [
        (decode(each.chosen_ids[each.chosen_prompt_length :]), decode(each.rejected_ids[each.rejected_prompt_length :]))
        for each in examples
    ]
    empty = {"A": "A is empty\nverdict: B", "B": "B is empty\nverdict: A"}
    first, second = (empty["B"], empty["A"]) if told.label() == "A" else (empty["A"], empty["B"])
    assert said[0] == (first, second) and said[2] == (second, first), "both orders, against the mirror"
    assert len(said) == 3 and said[1][0] == first, "and in the order of a wrong trace against it"


def test_null_negatives_say_why_where_their_text_alone_says_so():
    encoder = JudgeEncoder(smollm2_tokenizer(), "chat_compact", max_context=512, max_rationale=16)
    pairs = [PreferencePair.create(f"question {i}", f"It rains in {i}. Take a coat.", "Yes.") for i in range(2)]
    made = null_pairs(pairs, tuple(NULLS), 0)
    assert {str(pair.meta[KIND]) for pair in made} == set(NULLS)
    assert {str(pair.meta[KIND]) for pair in made if has_reason(pair, encoder)} == set(REASONS)
