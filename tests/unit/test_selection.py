"""Selection of traces: reason codes, quotas, balance, pairing, and independence of arrival order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.bootstrap.learning import LearningStages
from genrm_rl.bootstrap.select import Reason, count_reasons, pair_traces, select_traces, without_correct_trace
from genrm_rl.bootstrap.star import learn_from
from genrm_rl.config import RunConfig, SelectionConfig
from genrm_rl.config.loading import load_config
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.rollout.trace_store import REASONS_FILE
from genrm_rl.runtime.run_directory import RunDirectory
from tests.unit import judging_cases


def trace(
    pair: str, sample: int, verdict: Verdict, *, swapped: bool = False, tokens: tuple[int, ...] | None = None
) -> Trace:
    return Trace(
        trace_id=f"{pair}-{'ba' if swapped else 'ab'}-{sample}",
        pair_id=pair,
        swapped=swapped,
        form="cot",
        text="",
        rationale="",
        verdict=verdict,
        p_a=None,
        prompt_token_ids=(1,),
        completion_token_ids=tokens or (sample, 7),
        finish_reason="stop",
        judge_version="base",
        temperature=1.0,
        top_p=1.0,
        seed=0,
        sample_index=sample,
    )


A, B = Verdict.PREFERS_A, Verdict.PREFERS_B
OPEN = SelectionConfig(balance=False, max_kept_per_order=9)


def reasons(traces, labels, config=OPEN):
    return {item.trace.trace_id: item.reason for item in select_traces(traces, labels, config, seed=1)}


def test_label_is_read_in_the_order_of_the_trace():
    found = reasons([trace("p", 0, A), trace("p", 1, A, swapped=True)], {"p": "A"})
    assert found == {"p-ab-0": Reason.KEPT, "p-ba-1": Reason.WRONG_VERDICT}


def test_non_verdicts_are_named_and_never_kept():
    kinds = [Verdict.UNPARSEABLE, Verdict.TRUNCATED, Verdict.ABSTAINED, Verdict.TIMED_OUT, Verdict.JUDGE_FAILED]
    found = reasons([trace("p", i, kind) for i, kind in enumerate(kinds)], {"p": "A"})
    assert list(found.values()) == [
        Reason.UNPARSEABLE,
        Reason.TRUNCATED,
        Reason.ABSTAINED,
        Reason.FAILED,
        Reason.FAILED,
    ]


def test_duplicates_and_quota():
    same = [trace("p", i, A, tokens=(5, 5)) for i in range(3)]
    other = [trace("p", i, A) for i in range(3, 6)]
    counts = count_reasons(
        select_traces(same + other, {"p": "A"}, SelectionConfig(balance=False, max_kept_per_order=2), seed=0)
    )
    assert counts["kept"] == 2
    assert counts["kept"] + counts["duplicate"] + counts["quota_reached"] == 6
    assert sum(counts.values()) == 6


def test_the_reason_code_of_each_trace_is_kept_beside_the_examples(tmp_path):
    taught = judging_cases.pair()
    traces = [trace(taught.id, n, Verdict.of(taught.label()), tokens=(5, 5 + n // 2)) for n in range(4)]
    traces.append(trace(taught.id, 4, Verdict.UNPARSEABLE))
    words = ("--bootstrap.selection.balance", "false")
    config = load_config(RunConfig, None, ["--run.root", str(tmp_path), "--run.id", "r", *words])
    encoder = JudgeEncoder.from_config(judging_cases.tiny_tokenizer(), config.judge, 512)
    with RunDirectory(config) as run:
        engine = SimpleNamespace(encoder=encoder)  # nothing is sampled or fitted here
        stages = LearningStages(config, run, engine, None)  # type: ignore[arg-type]
        file = learn_from("star_sft", "methods/star_sft/round1", traces, [taught], stages)
    rows = pq.read_table(file.parent / REASONS_FILE).to_pylist()
    assert [row["trace_id"] for row in rows] == [each.trace_id for each in traces]
    assert sorted(row["reason"] for row in rows) == ["duplicate", "duplicate", "kept", "kept", "unparseable"]


def test_an_engine_failure_is_never_a_rejected_trace():
    selections = select_traces([trace("p", 0, A), trace("p", 1, Verdict.JUDGE_FAILED)], {"p": "A"}, OPEN, seed=0)
    assert pair_traces(selections, {"p": "A"}, OPEN, seed=0) == []


def test_unparseable_traces_are_rejected_sides_only_on_request():
    traces = [
        trace("p", 0, A),
        trace("p", 1, Verdict.UNPARSEABLE),
        trace("q", 0, A),
        trace("q", 1, Verdict.UNPARSEABLE),
    ]
    labels = {"p": "A", "q": "A"}
    for allowed, expected in ((True, 2), (False, 0)):
        config = OPEN.model_copy(update={"unparseable_as_rejected": allowed})
        assert len(pair_traces(select_traces(traces, labels, config, 0), labels, config, 0)) == expected


def test_all_wrong_comparisons_are_found_per_order():
    traces = [trace("p", 0, B), trace("p", 1, Verdict.TRUNCATED), trace("p", 0, B, swapped=True)]
    assert without_correct_trace(traces, {"p": "A"}) == {("p", False)}


def test_right_in_one_order_only_teaches_nothing_on_request():
    """A judge that always names the first answer is right in one order of every pair."""
    first = [trace(pair, i, A, swapped=swapped) for pair in "pq" for swapped in (False, True) for i in (0, 1)]
    both = [trace("r", 0, A), trace("r", 1, B), trace("r", 0, B, swapped=True), trace("r", 1, A, swapped=True)]
    labels, asked = {"p": "A", "q": "B", "r": "A"}, OPEN.model_copy(update={"both_orders": True})
    plain, strict = (select_traces(first + both, labels, config, 0) for config in (OPEN, asked))
    assert count_reasons(plain)["kept"] == 6
    assert {item.trace.trace_id for item in strict if item.reason is Reason.KEPT} == {"r-ab-0", "r-ba-0"}
    assert {item.trace.pair_id for item in strict if item.reason is Reason.ONE_ORDER} == {"p", "q"}
    pairs = pair_traces(strict, labels, asked, seed=0)
    assert sorted((pair.chosen.trace_id, pair.rejected.trace_id) for pair in pairs) == [
        ("r-ab-0", "r-ab-1"), ("r-ba-0", "r-ba-1")
    ]  # fmt: skip


VERDICTS = st.sampled_from([A, B, Verdict.UNPARSEABLE, Verdict.TRUNCATED])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), VERDICTS, st.integers(0, 3)), max_size=60), st.randoms())
def test_selection_ignores_arrival_order_and_balances_letters(rows, shuffler: random.Random):
    traces = [
        replace(trace(f"p{pair}", i, verdict, swapped=swapped), completion_token_ids=(token,))
        for i, (pair, swapped, verdict, token) in enumerate(rows)
    ]
    labels = {f"p{i}": "A" if i % 2 else "B" for i in range(6)}
    config = SelectionConfig()
    first = select_traces(traces, labels, config, seed=3)
    again = list(traces)
    shuffler.shuffle(again)
    assert select_traces(again, labels, config, seed=3) == first
    assert sorted(item.trace.trace_id for item in first) == sorted(item.trace_id for item in traces)
    letters = Counter(item.trace.verdict.slot for item in first if item.reason is Reason.KEPT)
    assert letters["A"] == letters["B"]
    pairs = pair_traces(first, labels, config, seed=3)
    letters = Counter(pair.chosen.verdict.slot for pair in pairs)
    assert letters["A"] == letters["B"]
    for pair in pairs:
        assert (pair.chosen.pair_id, pair.chosen.swapped) == (pair.rejected.pair_id, pair.rejected.swapped)
        assert pair.chosen.verdict.slot != pair.rejected.verdict.slot
