"""A judge that may say tie: asked for it, read, folded, scored, and trained only to say it of ties."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from genrm_rl.bootstrap.select import Reason, is_correct, select_traces
from genrm_rl.config import RunConfig
from genrm_rl.config.bootstrap import SelectionConfig
from genrm_rl.config.data import DataConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.model import JudgeConfig
from genrm_rl.errors import ConfigError
from genrm_rl.evaluation.counts import folded_points, orders_right
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import record_from_judgment
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import fold
from genrm_rl.judging.prompts import JudgePrompt
from genrm_rl.judging.requests import judge_requests, requests_again
from genrm_rl.judging.stopping import decided, rounds_of
from genrm_rl.judging.templates import FAMILIES, GRAMMARS
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.judging.verdicts import parse_verdict
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import PreferencePair
from tests.unit.judging_cases import comparison, tiny_tokenizer

SAYS_TIE = replace(GRAMMARS["mt_bench"], ties=True)
TIED = PreferencePair.create("add 1 1", "2", "two", tie=True)
A, B, T = Verdict.PREFERS_A, Verdict.PREFERS_B, Verdict.TIED


def trace(verdict: Verdict, *, swapped: bool = False, index: int = 0, pair: PreferencePair = TIED) -> Trace:
    return Trace(
        trace_id=f"{pair.id}/{swapped}/{index}/{verdict}", pair_id=pair.id, swapped=swapped, form="cot", text="",
        rationale="", verdict=verdict, p_a=None, prompt_token_ids=(1,), completion_token_ids=(2, index),
        finish_reason="stop", judge_version="v", temperature=1.0, top_p=1.0, seed=0, sample_index=index,
    )  # fmt: skip


@pytest.mark.parametrize("line", ["Verdict: tie", "**Verdict: tie**", "Verdict: Tie.", "[[C]]"])
def test_a_tie_is_a_verdict_where_the_judge_may_say_so(line: str) -> None:
    assert parse_verdict(f"Both add up.\n{line}", "stop", SAYS_TIE).verdict is T
    assert parse_verdict(f"Both add up.\n{line}", "stop", GRAMMARS["mt_bench"]).verdict is Verdict.ABSTAINED
    assert T.is_verdict and T.slot is None and T.swap() is T and not Verdict.ABSTAINED.is_verdict


def test_the_prompt_offers_it_and_says_nothing_else_that_is_new() -> None:
    for family in FAMILIES:
        plain, offered = JudgePrompt(family, "cot"), JudgePrompt(family, "cot", ties=True)
        texts = [str(prompt.render(comparison())) for prompt in (plain, offered)]
        assert ("tie" in texts[1]) == (family != "compact") and (plain.hash == offered.hash) == (family == "compact")
        assert "no ties" not in texts[1] and "Verdict: tie" not in texts[0]
        for form in ("direct", "rationalize"):
            assert JudgePrompt(family, form, ties=True).hash == JudgePrompt(family, form).hash
    plain, offered = (
        JudgeEncoder.from_config(tiny_tokenizer(), JudgeConfig(ties=ties), 320).prompt_hashes for ties in (False, True)
    )
    assert plain["cot"] != offered["cot"], "remembered verdicts know how they were read"


def test_a_vote_for_a_tie_is_half_a_vote_for_each() -> None:
    both = fold([trace(T), trace(T, swapped=True)])
    assert (both.verdict, both.p_a, both.tie, both.votes) == (Verdict.ABSTAINED, 0.5, True, 2)
    one = fold([trace(A), trace(T, swapped=True)])
    assert one.verdict is A and one.p_a == 0.75
    turned = fold([trace(B), trace(T, swapped=True)])
    assert turned.verdict is B and turned.p_a == 0.25
    balanced = fold(
        [trace(A), trace(T, index=1), trace(B, index=2), *(trace(T, swapped=True, index=i) for i in range(3))]
    )
    assert balanced.tie and balanced.p_a == 0.5
    refused = fold([trace(Verdict.ABSTAINED), trace(Verdict.ABSTAINED, swapped=True)])
    assert refused.p_a is None and not refused.tie


def test_whoever_said_tie_is_not_asked_again() -> None:
    encoder = JudgeEncoder.from_config(tiny_tokenizer(), JudgeConfig(ties=True), 320)
    how = {"judge_version": "v", "purpose": "t", "run_seed": 0, "temperature": 1.0, "top_p": 1.0}
    asked = list(judge_requests([TIED.comparison()], encoder, form="cot", **how))
    assert requests_again(asked, [trace(T)]) == []
    assert len(requests_again(asked, [trace(Verdict.ABSTAINED)])) == 1


def test_votes_for_a_tie_never_stop_the_asking_for_an_answer() -> None:
    rounds = rounds_of([trace(T, swapped=swapped, index=i) for i in range(3) for swapped in (False, True)])
    assert all(vote == (0.5, 0.5) for votes in rounds for vote in votes) and not decided(rounds, 16, 0.05)


def test_a_tie_is_scored_as_the_label_has_it() -> None:
    def scored(pair: PreferencePair, *verdicts: Verdict):
        traces = [trace(verdict, swapped=bool(i), pair=pair) for i, verdict in enumerate(verdicts)]
        return record_from_judgment(pair, fold(traces), judge="j", test_set="t", decoding="greedy")

    right = scored(TIED, T, T)
    assert right.label is None and right.tie_ab and orders_right(right) == 2 and folded_points(right) == 1
    assert folded_points(scored(TIED, A, B)) == 0, "both orders name one answer of a tie"
    won = PreferencePair.create("add 1 1", "2", "3")
    missed = scored(won, T, T)
    assert orders_right(missed) == 0 and folded_points(missed) == 0.5
    row = summarise([right], resamples=100)
    assert row.accuracy_strict == row.accuracy_folded == row.right_in_both == 1 and row.n_with_probability == 0


def test_a_trace_is_learnt_from_only_if_it_says_what_the_label_says() -> None:
    won = PreferencePair.create("add 1 1", "2", "3")
    labels = {TIED.id: None, won.id: won.label()}
    assert is_correct(trace(T), labels) and not is_correct(trace(A), labels) and not is_correct(trace(B), labels)
    assert not is_correct(trace(T, pair=won), labels)
    assert is_correct(trace(Verdict.of(won.label()), pair=won), labels)
    assert is_correct(trace(Verdict.of(won.label()).swap(), swapped=True, pair=won), labels)
    chosen = select_traces(
        [trace(T), trace(A, index=1), trace(T, pair=won), trace(Verdict.ABSTAINED, index=2)],
        labels,
        SelectionConfig(),
        0,
    )
    reasons = {item.trace.trace_id: item.reason for item in chosen}
    assert reasons[trace(T).trace_id] is Reason.KEPT
    assert reasons[trace(A, index=1).trace_id] is reasons[trace(T, pair=won).trace_id] is Reason.WRONG_VERDICT
    assert reasons[trace(Verdict.ABSTAINED, index=2).trace_id] is Reason.ABSTAINED


ROWS = [
    {"prompt": f"question {n} about {word}", "response_a": f"a{n}", "response_b": f"b{n}", "winner": winner}
    for n, (word, winner) in enumerate(
        zip(("rivers", "hills", "trains", "music", "bread", "stars"), ("A", "B", "tie", "A", "tie", "B"), strict=True)
    )
]


@pytest.mark.parametrize(("ties", "tied", "tests"), [("leave_out", 0, 1), ("test", 0, 2), ("learn", 2, 2)])
def test_ties_of_training_stand_apart_from_pairs_with_a_winner(
    tmp_path: Path, ties: str, tied: int, tests: int
) -> None:
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    held_out = [{**ROWS[0], "prompt": "what is coal"}, {**ROWS[2], "prompt": "what is tin"}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out), encoding="utf-8")
    config = DataConfig.model_validate(
        {"root": str(tmp_path), "train": [{"path": "train.jsonl"}], "test": [{"path": "test.jsonl", "name": "t"}],
         "ties": ties, "gate_fraction": 0.3}
    )  # fmt: skip
    splits = load_sources(config, 0)
    assert len(splits.train) + len(splits.gate) == 4 and not any(pair.tie for pair in (*splits.train, *splits.gate))
    assert len(splits.tied) == tied and all(pair.tie for pair in splits.tied)
    assert len(splits.test["t"]) == tests and splits.report.refused.get("tie", 0) == 3 - tied - (tests - 1)


def test_ties_are_learnt_by_a_judge_that_may_say_so() -> None:
    with pytest.raises(ConfigError, match="data.ties learn needs a judge that may say tie"):
        load_config(RunConfig, None, ["--data.ties", "learn"])
    assert load_config(RunConfig, None, ["--data.ties", "learn", "--judge.ties", "true"]).judge.ties
