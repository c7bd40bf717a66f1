"""From finished generations to traces; no engine in here, any callable will do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.probability import likelier_letter, log_odds_of, sigmoid, verdict_log_odds
from genrm_rl.judging.requests import JudgeRequest, derive_seed
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.judging.verdicts import ParsedVerdict, contradicts, is_thinking, parse_verdict

FORCED = "forced"  # finish reason of a trace whose verdict line was begun for the judge
Generate = Callable[[Sequence[GenerationRequest]], Iterable[GenerationResult]]


def trace_from_result(asked: JudgeRequest, result: GenerationResult, encoder: JudgeEncoder) -> Trace:
    """Read a finished generation as a trace.

    The text is decoded from the sampled tokens. A completion with a control token before its end is UNPARSEABLE: its
    text hides what was sampled. Log-probabilities that are NaN or impossible make the trace JUDGE_FAILED. Raises
    ValueError when ``result`` answers another request.
    """
    if result.request_id != asked.request_id:
        raise ValueError(f"result {result.request_id} does not answer request {asked.request_id}")
    if asked.form == "direct":
        return _direct_trace(asked, result, encoder)
    text = encoder.chat.decode(result.token_ids)
    verdict, rationale = _parse(asked, text, result.finish_reason, encoder)
    body = _without_ending(result.token_ids, encoder)
    if verdict.is_verdict and any(index in encoder.chat.special_token_ids for index in body):
        verdict, rationale = Verdict.UNPARSEABLE, text
    log_odds = None
    if verdict.is_verdict:
        try:
            log_odds = verdict_log_odds(result.token_ids, result.logprobs_TK, encoder.letter_token_ids, encoder.closes)
        except ValueError:
            verdict, rationale = Verdict.JUDGE_FAILED, text
    return _trace(asked, result, text, rationale, verdict, log_odds)


def forced_request(asked: JudgeRequest, result: GenerationResult, encoder: JudgeEncoder) -> JudgeRequest | None:
    """The follow-up that begins the verdict line for a judge that forgot it or ran out of tokens (budget forcing,
    Muennighoff et al. 2025, arXiv 2501.19393): prompt + completion + marker, one token.

    None unless forcing is on (``judge.force_verdict``), and for a completion that gave a verdict, abstained,
    contradicted itself, is an engine's failure, or is learned from as it was sampled.
    """
    if not encoder.force_verdict or asked.form == "direct" or asked.request.sampled_logprobs:
        return None
    text = encoder.chat.decode(result.token_ids)
    verdict = _parse(asked, text, result.finish_reason, encoder).verdict
    if verdict not in (Verdict.UNPARSEABLE, Verdict.TRUNCATED, Verdict.TRUNCATED_THINKING):
        return None
    if all(contradicts(text, slot, encoder.grammar) for slot in ("A", "B")):
        return None
    body = _without_ending(result.token_ids, encoder)
    if any(index in encoder.chat.special_token_ids for index in body):
        return None
    request = replace(
        asked.request,
        request_id=f"{asked.request_id}/{FORCED}",
        prompt_token_ids=asked.request.prompt_token_ids + _begun(result, encoder),
        max_tokens=1,
        seed=derive_seed(asked.request.seed, FORCED),
    )
    return replace(asked, request=request)


def trace_from_forced(
    asked: JudgeRequest, result: GenerationResult, forced: GenerationResult, encoder: JudgeEncoder
) -> Trace:
    """The trace of a rationale and its forced verdict; ``finish_reason`` is ``forced`` so that it stays countable.

    A forced token that is neither letter leaves the trace UNPARSEABLE; a follow-up that failed or was late says so.
    """
    body = _begun(result, encoder)
    joined = replace(
        result,
        token_ids=body + forced.token_ids,
        finish_reason=forced.finish_reason,
        weight_version=forced.weight_version,
        error=forced.error,
    )
    text = encoder.chat.decode(joined.token_ids)
    verdict, log_odds = _one_token_verdict(forced, encoder)
    rationale = text
    if verdict.is_verdict:
        verdict, rationale = _parse(asked, text, "stop", encoder)
    trace = _trace(asked, joined, text, rationale, verdict, log_odds if verdict.is_verdict else None)
    return replace(trace, finish_reason=FORCED) if forced.finish_reason in ("stop", "length") else trace


def collect_traces(asked: Iterable[JudgeRequest], generate: Generate, encoder: JudgeEncoder) -> Iterator[Trace]:
    """Generate and read, yielding each trace as soon as it is final; forced verdicts come in one second pass.

    ``generate`` may return results in any order (an engine pool's method, or any function of the same shape).
    """
    waiting = {entry.request_id: entry for entry in asked}
    unfinished: dict[str, tuple[JudgeRequest, GenerationResult, JudgeRequest]] = {}
    for result in generate([entry.request for entry in waiting.values()]):
        entry = waiting[result.request_id]
        follow_up = forced_request(entry, result, encoder)
        if follow_up is None:
            yield trace_from_result(entry, result, encoder)
        else:
            unfinished[follow_up.request_id] = (entry, result, follow_up)
    if unfinished:
        for forced in generate([follow_up.request for _, _, follow_up in unfinished.values()]):
            entry, result, _ = unfinished[forced.request_id]
            yield trace_from_forced(entry, result, forced, encoder)


def _parse(asked: JudgeRequest, text: str, finish_reason: str, encoder: JudgeEncoder) -> ParsedVerdict:
    answers = (asked.comparison.response_a, asked.comparison.response_b)
    thinking = encoder.chat.opens_thinking
    return parse_verdict(text, finish_reason, encoder.grammar, answers=answers, thinking=thinking)


def _begun(result: GenerationResult, encoder: JudgeEncoder) -> tuple[int, ...]:
    """What was written, with its thinking ended, and the verdict line begun."""
    open_end = is_thinking(encoder.chat.decode(result.token_ids), encoder.chat.opens_thinking)
    end = encoder.chat.end_of_thinking_ids if open_end else ()
    return _without_ending(result.token_ids, encoder) + end + encoder.marker_line_token_ids


def _direct_trace(asked: JudgeRequest, result: GenerationResult, encoder: JudgeEncoder) -> Trace:
    """The marker was part of the prompt; ``text`` shows the whole verdict line all the same.

    Paper, Eq. 7: the verdict is the likelier letter. So at temperature 0 a token that is neither letter leaves the
    verdict to the two letters, if they had a probability to speak of.
    """
    verdict, log_odds = _one_token_verdict(result, encoder, letters_decide=asked.request.temperature == 0)
    text = encoder.grammar.marker + encoder.chat.decode(result.token_ids)
    return _trace(asked, result, text, "" if verdict.is_verdict else text, verdict, log_odds)


def _one_token_verdict(
    result: GenerationResult, encoder: JudgeEncoder, *, letters_decide: bool = False
) -> tuple[Verdict, float | None]:
    """Verdict and log-odds of a one-token answer. A token that is neither letter is UNPARSEABLE, unless
    ``letters_decide``."""
    if result.finish_reason == "failed":
        return Verdict.JUDGE_FAILED, None
    if result.finish_reason == "deadline":
        return Verdict.TIMED_OUT, None
    said = None
    if len(result.token_ids) == 1 and result.token_ids[0] in encoder.verdict_token_ids:
        said = encoder.verdict_token_ids.index(result.token_ids[0])
    try:
        if said is None and letters_decide and result.logprobs_TK:
            said = likelier_letter(*_two(result.logprobs_TK[0]))
        if said is None:
            return Verdict.UNPARSEABLE, None
        log_odds = log_odds_of(*_two(result.logprobs_TK[0])) if result.logprobs_TK else None
    except ValueError:
        return Verdict.JUDGE_FAILED, None
    return Verdict.of("A" if said == 0 else "B"), log_odds


def _two(row: Sequence[float]) -> tuple[float, float]:
    if len(row) < 2:
        raise ValueError(f"expected the log-probabilities of 2 verdict tokens, got {len(row)}")
    return row[0], row[1]


def _without_ending(token_ids: Sequence[int], encoder: JudgeEncoder) -> tuple[int, ...]:
    """The completion without the control tokens and blanks at its end."""
    end = len(token_ids)
    while end and encoder.chat.ignorable(token_ids[end - 1]):
        end -= 1
    return tuple(token_ids[:end])


def _trace(
    asked: JudgeRequest, result: GenerationResult, text: str, rationale: str, verdict: Verdict, log_odds: float | None
) -> Trace:
    return Trace(
        trace_id=asked.request_id,
        pair_id=asked.comparison.pair_id,
        swapped=asked.comparison.swapped,
        form=asked.form,
        text=text,
        rationale=rationale,
        verdict=verdict,
        p_a=None if log_odds is None else sigmoid(log_odds),
        prompt_token_ids=asked.request.prompt_token_ids,
        completion_token_ids=tuple(result.token_ids),
        finish_reason=result.finish_reason,
        judge_version=asked.judge_version,
        temperature=asked.request.temperature,
        top_p=asked.request.top_p,
        seed=asked.request.seed,
        sample_index=asked.sample_index,
        log_odds=log_odds,
        logprobs_T=tuple(result.sampled_logprobs_T),
    )
