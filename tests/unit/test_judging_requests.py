"""Requests and traces: deterministic ids and seeds, exact reading of what was sampled, forced verdicts."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest

from genrm_rl.errors import DataError
from genrm_rl.generation import GenerationResult
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.reading import FORCED, collect_traces, forced_request, trace_from_forced, trace_from_result
from genrm_rl.judging.requests import JudgeRequest, both_orders, judge_requests, orders_to_ask, requests_again
from genrm_rl.judging.types import Verdict
from tests.unit.judging_cases import comparison, smollm2_tokenizer, tiny_tokenizer

ENCODER = JudgeEncoder(tiny_tokenizer(), "compact", max_context=256, max_rationale=40)
FORCING = JudgeEncoder(tiny_tokenizer(), "compact", max_context=256, max_rationale=40, force_verdict=True)
A, B = ENCODER.verdict_token_ids
END = ENCODER.stop_token_id
USER = tiny_tokenizer().convert_tokens_to_ids("<user>")


def ask(
    form="cot", *, encoder=ENCODER, samples=1, seed=0, version="star/1", subjects=None, hints=None, temperature=1.0
):
    """Requests for both orders."""
    return list(
        judge_requests(
            both_orders(subjects or [comparison()]),
            encoder,
            form=form,
            judge_version=version,
            purpose="sample",
            run_seed=seed,
            temperature=temperature,
            top_p=0.95,
            samples=samples,
            hints=hints,
        )
    )


def answer(asked: JudgeRequest, text: str, *, finish="stop", p_a=0.75, ids=None) -> GenerationResult:
    """A finished generation whose every position gives A the probability ``p_a`` relative to B."""
    tokens = tuple(ENCODER.chat.text_ids(text)) + ((END,) if finish == "stop" else ()) if ids is None else tuple(ids)
    row = (math.log(p_a), math.log(1 - p_a))
    return GenerationResult(asked.request_id, tokens, text, finish, (row,) * len(tokens), "v")


def test_ids_and_seeds_follow_from_what_is_asked_and_nothing_else() -> None:
    first, again = ask(samples=3), ask(samples=3)
    assert first == again
    assert len({entry.request_id for entry in first}) == len({entry.request.seed for entry in first}) == 6
    assert first[0].request_id == "sample/star/1/cot/p0/ab/0"
    assert [entry.request for entry in ask(samples=2)] == [entry.request for entry in first if entry.sample_index < 2]
    for other in (ask(seed=1), ask(version="star/2")):
        assert {entry.request.seed for entry in other}.isdisjoint({entry.request.seed for entry in first})
    assert all(0 <= entry.request.seed < 2**31 for entry in first)


def test_requests_ask_for_both_verdict_tokens_and_stop_at_the_end_of_turn() -> None:
    (ab, ba) = ask()
    assert ab.request.logprob_token_ids == (A, B) and ab.request.stop_token_ids == (END,)
    assert ab.request.max_tokens == 40 + ENCODER.verdict_room
    assert ab.request.prompt_token_ids == ENCODER.prompt_ids(comparison(), "cot")
    assert ba.request.prompt_token_ids == ENCODER.prompt_ids(comparison().swap(), "cot")
    direct = ask("direct")[0].request
    assert direct.max_tokens == 1 and direct.prompt_token_ids[-1] == ENCODER.marker_token_ids[-1]


def test_hints_are_canonical_and_turn_with_the_order() -> None:
    ab, ba = ask("rationalize", hints={"p0": "A"})
    assert (ab.hint, ba.hint) == ("A", "B")
    assert ENCODER.chat.decode(ab.request.prompt_token_ids).startswith("why A add")
    assert ENCODER.chat.decode(ba.request.prompt_token_ids).startswith("why B add")


def test_too_long_comparisons_are_refused_not_cut() -> None:
    with pytest.raises(DataError, match="Pair p0 needs .* tokens to be judged"):
        ask(subjects=[comparison(a="a" * 300)])


def test_trace_reads_verdict_rationale_and_probability() -> None:
    asked = ask()[1]
    trace = trace_from_result(asked, answer(asked, "feel: B nicer\nverdict: B", p_a=0.3), ENCODER)
    assert (trace.verdict, trace.rationale, trace.swapped) == (Verdict.PREFERS_B, "feel: B nicer", True)
    assert trace.p_a == pytest.approx(0.3) and trace.canonical_p_a == pytest.approx(0.7)
    assert trace.completion_token_ids[-1] == END and trace.trace_id == asked.request_id
    with pytest.raises(ValueError, match="does not answer"):
        trace_from_result(ask()[0], answer(asked, "x"), ENCODER)


@pytest.mark.parametrize(
    ("text", "finish", "verdict"),
    [
        ("work: 3", "length", Verdict.TRUNCATED),
        ("feel: A nicer", "stop", Verdict.UNPARSEABLE),
        ("feel\nverdict: none", "stop", Verdict.ABSTAINED),
        ("feel\nverdict: A", "deadline", Verdict.TIMED_OUT),
        ("", "failed", Verdict.JUDGE_FAILED),
    ],
)
def test_non_verdicts_have_no_probability(text: str, finish: str, verdict: Verdict) -> None:
    asked = ask()[0]
    trace = trace_from_result(asked, answer(asked, text, finish=finish), ENCODER)
    assert (trace.verdict, trace.p_a, trace.text) == (verdict, None, text)


def test_control_tokens_inside_a_judgment_make_it_unparseable() -> None:
    asked = ask()[0]
    hidden = [*ENCODER.chat.text_ids("feel: A nicer\nverdict: "), USER, A, END]
    trace = trace_from_result(asked, answer(asked, "", ids=hidden), ENCODER)
    assert trace.text.endswith("verdict: A") and trace.verdict is Verdict.UNPARSEABLE


def test_nan_from_the_engine_is_a_failed_judge_not_a_number() -> None:
    for form, text in (("cot", "x\nverdict: A"), ("direct", "A")):
        asked = ask(form)[0]
        result = answer(asked, text, finish="stop" if form == "cot" else "length")
        broken = replace(result, logprobs_TK=((math.nan, -1.0),) * len(result.token_ids))
        trace = trace_from_result(asked, broken, ENCODER)
        assert (trace.verdict, trace.p_a) == (Verdict.JUDGE_FAILED, None)


def test_direct_verdict_is_the_one_sampled_token() -> None:
    asked = ask("direct")[0]
    trace = trace_from_result(asked, answer(asked, "", ids=[B], finish="length", p_a=0.6), ENCODER)
    assert (trace.verdict, trace.text, trace.rationale) == (Verdict.PREFERS_B, "verdict: B", "")
    assert trace.p_a == pytest.approx(0.6)
    other = tiny_tokenizer().convert_tokens_to_ids("C")
    for ids in ([other], [END], []):
        trace = trace_from_result(asked, answer(asked, "", ids=ids, finish="length"), ENCODER)
        assert (trace.verdict, trace.p_a) == (Verdict.UNPARSEABLE, None)


def test_the_likelier_letter_decides_a_greedy_direct_answer_that_is_neither() -> None:
    asked = ask("direct", temperature=0.0)[0]
    other = tiny_tokenizer().convert_tokens_to_ids("C")
    trace = trace_from_result(asked, answer(asked, "", ids=[other], finish="length", p_a=0.6), ENCODER)
    assert (trace.verdict, trace.p_a) == (Verdict.PREFERS_A, pytest.approx(0.6))
    unsaid = replace(answer(asked, "", ids=[other], finish="length"), logprobs_TK=((-9.0, -12.0),))
    assert trace_from_result(asked, unsaid, ENCODER).verdict is Verdict.UNPARSEABLE


@pytest.mark.parametrize(
    ("ending", "spelling"),
    [
        ("Verdict: A", 0),
        ("**Verdict: A**", 0),
        ("Verdict: A.", 0),
        ("ok. Verdict: A", 0),
        ("**Verdict:** A", 0),
        ("Verdict: **A**", 1),
        ("[[A]]", 1),
        ("My verdict is: [[A]].", 1),
    ],
)
def test_probability_is_read_at_the_letter_of_every_ending(ending: str, spelling: int) -> None:
    encoder = JudgeEncoder(smollm2_tokenizer(), "mt_bench", max_context=2048, max_rationale=40)
    asked = ask(encoder=encoder)[0]
    assert len(asked.request.logprob_token_ids) == 4
    tokens = (*encoder.chat.text_ids(f"B is worse. A fine one.\n{ending}"), encoder.stop_token_id)
    letter = encoder.letter_token_ids[spelling][0]
    place = max(index for index, token in enumerate(tokens) if token == letter)
    rows = [(-1.0, -1.0, -1.0, -1.0)] * len(tokens)
    rows[place] = (-0.5, -3.0, -9.0, -9.5) if spelling == 0 else (-9.0, -9.5, -0.5, -3.0)
    result = GenerationResult(asked.request_id, tokens, "", "stop", tuple(rows), "v")
    trace = trace_from_result(asked, result, encoder)
    assert (trace.verdict, trace.log_odds) == (Verdict.PREFERS_A, 2.5)


def test_thinking_that_was_cut_off_is_ended_before_the_verdict_is_asked_for() -> None:
    tokenizer = copy.deepcopy(smollm2_tokenizer())
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = (
        "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    settings = {"max_context": 2048, "max_rationale": 20, "max_thinking": 20, "force_verdict": True}
    encoder = JudgeEncoder(tokenizer, "mt_bench", **settings)
    assert (
        encoder.chat.opens_thinking and encoder.tokens_after("cot") > encoder.max_tokens("cot") + encoder.verdict_room
    )
    asked = ask(encoder=encoder)[0]
    tokens = tuple(encoder.chat.text_ids("B looks fine.\nVerdict: B"))
    rows = ((-1.0,) * 4,) * len(tokens)
    cut = GenerationResult(asked.request_id, tokens, "", "length", rows, "v")
    assert trace_from_result(asked, cut, encoder).verdict is Verdict.TRUNCATED_THINKING, "no verdict is drafted"
    follow_up = forced_request(asked, cut, encoder)
    assert encoder.chat.decode(follow_up.request.prompt_token_ids).endswith("Verdict: B\n</think>\n\nVerdict:")
    said = GenerationResult(
        follow_up.request_id, encoder.verdict_token_ids[:1], "", "length", ((-0.5, -1.5, -9.0, -9.0),), "v"
    )
    trace = trace_from_forced(asked, cut, said, encoder)
    assert (trace.verdict, trace.log_odds) == (Verdict.PREFERS_A, 1.0)


def test_an_order_without_a_verdict_is_asked_once_more_with_a_seed_of_its_own() -> None:
    asked = ask(samples=2)
    texts = ["feel: A nicer\nverdict: A", "hm", "hm", "hm"]
    traces = [trace_from_result(each, answer(each, text), ENCODER) for each, text in zip(asked, texts, strict=True)]
    (again,) = requests_again(asked, traces)
    assert again.request_id == f"{asked[2].request_id}/again" and again.comparison.swapped
    assert again.request.seed not in {each.request.seed for each in asked}
    assert requests_again(asked, traces) == [again], "a resumed run asks the same"
    greedy = ask(temperature=0.0)
    for finish, count in (("stop", 0), ("deadline", 2), ("failed", 2)):
        traces = [trace_from_result(each, answer(each, "hm", finish=finish), ENCODER) for each in greedy]
        assert len(requests_again(greedy, traces)) == count, "at temperature 0 the same question gives the same words"


def test_one_order_is_drawn_by_the_seed() -> None:
    subjects = [comparison(pair_id=f"p{index}") for index in range(64)]
    drawn = [each.swapped for each in orders_to_ask(subjects, "one", 7)]
    assert drawn == [each.swapped for each in orders_to_ask(subjects, "one", 7)] and 16 < sum(drawn) < 48
    assert drawn != [each.swapped for each in orders_to_ask(subjects, "one", 8)]
    assert len(list(orders_to_ask(subjects, "both", 7))) == 128


def test_answers_that_the_template_makes_equal_are_indistinct() -> None:
    assert ENCODER.indistinct(comparison("a\nb", "a b"), "cot") and ENCODER.indistinct(comparison("a", "a"), "direct")
    assert not ENCODER.indistinct(comparison("a", "b"), "cot")


def test_rationalised_trace_is_trained_under_the_prompt_without_the_label() -> None:
    asked = ask("rationalize", hints={"p0": "B"})[0]
    trace = trace_from_result(asked, answer(asked, "feel: B nicer\nverdict: B"), ENCODER)
    example = ENCODER.trace_example(comparison(), trace)
    assert example.prompt_token_ids == ENCODER.prompt_ids(comparison(), "cot") != trace.prompt_token_ids
    assert example.completion_token_ids == trace.completion_token_ids
    with pytest.raises(ValueError, match="does not belong"):
        ENCODER.trace_example(comparison().swap(), trace)


def test_truncated_trace_teaches_no_end() -> None:
    asked = ask()[0]
    cut = trace_from_result(asked, answer(asked, "work: 3", finish="length"), ENCODER)
    assert ENCODER.trace_example(comparison(), cut).completion_token_ids == cut.completion_token_ids
    whole = trace_from_result(
        asked, answer(asked, "x\nverdict: A", ids=ENCODER.chat.text_ids("x\nverdict: A")), ENCODER
    )
    assert ENCODER.trace_example(comparison(), whole).completion_token_ids[-2:] == (A, END)


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_forgotten_or_cut_off_verdict_is_asked_for_once(finish: str) -> None:
    asked = ask(encoder=FORCING)[0]
    result = answer(asked, "feel: A nicer", finish=finish)
    follow_up = forced_request(asked, result, FORCING)
    assert follow_up is not None and follow_up.request_id == f"{asked.request_id}/{FORCED}"
    shown = FORCING.chat.decode(follow_up.request.prompt_token_ids)
    assert shown.endswith("feel: A nicer\nverdict: ") and follow_up.request.max_tokens == 1
    forced = answer(follow_up, "", ids=[A], finish="length", p_a=0.9)
    trace = trace_from_forced(asked, result, forced, FORCING)
    assert (trace.verdict, trace.finish_reason, trace.rationale) == (Verdict.PREFERS_A, FORCED, "feel: A nicer")
    assert trace.p_a == pytest.approx(0.9) and trace.text == "feel: A nicer\nverdict: A"
    assert FORCING.trace_example(comparison(), trace).completion_token_ids == FORCING.completion_ids(
        "feel: A nicer", "A"
    )
    odd = trace_from_forced(asked, result, answer(follow_up, "", ids=[END], finish="stop"), FORCING)
    assert (odd.verdict, odd.p_a) == (Verdict.UNPARSEABLE, None)
    late = trace_from_forced(asked, result, answer(follow_up, "", ids=[], finish="deadline"), FORCING)
    assert late.verdict is Verdict.TIMED_OUT and late.finish_reason == "deadline"


@pytest.mark.parametrize(
    ("text", "finish"),
    [
        ("x\nverdict: A", "stop"),
        ("x\nverdict: tie", "stop"),
        ("verdict: A\nverdict: B\nhm", "length"),
        ("x", "deadline"),
        ("x", "failed"),
        ("verdict: A\nverdict: B\nhm", "stop"),
    ],
)
def test_nothing_else_is_forced(text: str, finish: str) -> None:
    asked = ask(encoder=FORCING)[0]
    assert forced_request(asked, answer(asked, text, finish=finish), FORCING) is None
    assert forced_request(asked, answer(asked, "forgot"), ENCODER) is None


def test_forced_line_that_contradicts_an_earlier_one_is_no_verdict() -> None:
    asked = ask(encoder=FORCING)[0]
    result = answer(asked, "verdict: B\nbecause")
    follow_up = forced_request(asked, result, FORCING)
    assert follow_up is not None
    trace = trace_from_forced(asked, result, answer(follow_up, "", ids=[A], finish="length"), FORCING)
    assert (trace.verdict, trace.p_a) == (Verdict.UNPARSEABLE, None)


def test_collecting_streams_and_finishes_forced_ones() -> None:
    asked = ask(encoder=FORCING, samples=2)
    calls = []

    def generate(requests):
        calls.append([request.request_id for request in requests])
        for request in reversed(requests):
            entry = replace(asked[0], request=request)
            if request.max_tokens == 1:
                yield answer(entry, "", ids=[B], finish="length")
            else:
                yield answer(entry, "feel" if request.request_id.endswith("/1") else "x\nverdict: A")

    traces = {trace.trace_id: trace for trace in collect_traces(asked, generate, FORCING)}
    assert set(traces) == {entry.request_id for entry in asked}
    assert [len(call) for call in calls] == [4, 2]
    assert {trace.verdict for trace in traces.values() if trace.finish_reason == FORCED} == {Verdict.PREFERS_B}
