"""From comparisons to generation requests and back to traces; no engine in here, any callable will do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from genrm_rl.errors import DataError
from genrm_rl.generation import GenerationRequest
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import Orders
from genrm_rl.judging.types import Form, Trace, Verdict
from genrm_rl.preferences.types import Comparison, Slot, other_slot

AGAIN = "again"  # what the id of a second asking ends in


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """One judgment that was asked for. ``request`` goes to the engine; the rest stays here to read the answer with."""

    request: GenerationRequest
    comparison: Comparison
    form: Form
    sample_index: int
    judge_version: str
    hint: Slot | None = None

    @property
    def request_id(self) -> str:
        """Id of the request, also the trace's id."""
        return self.request.request_id


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2^31) from a hash of ``parts``; the same parts give the same seed on every machine."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8")).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def both_orders(comparisons: Iterable[Comparison]) -> Iterator[Comparison]:
    """Each comparison, followed by its exchange."""
    for comparison in comparisons:
        yield comparison
        yield comparison.swap()


def orders_to_ask(comparisons: Iterable[Comparison], orders: Orders, seed: int) -> Iterator[Comparison]:
    """What is asked of each comparison: both orders, or the one that the seed draws for it."""
    if orders == "both":
        yield from both_orders(comparisons)
        return
    for comparison in comparisons:
        yield comparison.swap() if derive_seed(seed, "order", comparison.pair_id) % 2 else comparison


def judge_requests(
    comparisons: Iterable[Comparison],
    encoder: JudgeEncoder,
    *,
    form: Form,
    judge_version: str,
    purpose: str,
    run_seed: int,
    temperature: float,
    top_p: float,
    samples: int = 1,
    hints: Mapping[str, Slot] | None = None,
    sampled_logprobs: bool = False,
) -> Iterator[JudgeRequest]:
    """Requests for ``samples`` judgments of every comparison, in exactly the orders given (see :func:`both_orders`).

    Ids are ``purpose/judge_version/form/pair_id/order/sample``; seeds are a hash of the run's seed and the same parts,
    so that neither depends on batching, resuming, or which engine serves them. ``hints`` (rationalize only) maps pair
    ids to the better slot *in the canonical orientation*. ``sampled_logprobs`` asks for the log-probability of every
    sampled token; no verdict is forced then, because forced tokens are not sampled. Raises DataError for a comparison
    that does not fit the context.
    """
    for comparison in comparisons:
        hint = None
        if hints is not None:
            canonical = hints[comparison.pair_id]
            hint = other_slot(canonical) if comparison.swapped else canonical
        prompt = encoder.prompt_ids(comparison, form, hint)
        if len(prompt) + encoder.tokens_after(form) > encoder.max_context:
            raise DataError(
                f"Pair {comparison.pair_id} needs {len(prompt) + encoder.tokens_after(form)} tokens to be judged "
                f"({form}) and the "
                f"context has {encoder.max_context}; raise model.max_context, or leave the pair out."
            )
        for index in range(samples):
            parts = (purpose, judge_version, form, comparison.pair_id, comparison.order, index)
            request = GenerationRequest(
                request_id="/".join(map(str, parts)),
                prompt_token_ids=prompt,
                max_tokens=encoder.max_tokens(form),
                temperature=temperature,
                top_p=top_p,
                seed=derive_seed(run_seed, *parts),
                logprob_token_ids=encoder.logprob_token_ids,
                stop_token_ids=(encoder.stop_token_id,),
                sampled_logprobs=sampled_logprobs,
            )
            yield JudgeRequest(request, comparison, form, index, judge_version, hint)


def requests_again(asked: Iterable[JudgeRequest], traces: Iterable[Trace]) -> list[JudgeRequest]:
    """One more request for every comparison and order that was asked and came to no verdict at all, with a seed of its
    own that follows from the recorded one.

    At temperature 0 the same question gives the same words, so only what failed or was late is asked again.
    """
    orders: dict[tuple[str, bool], list[Verdict]] = {}
    for trace in traces:
        orders.setdefault((trace.pair_id, trace.swapped), []).append(trace.verdict)
    first: dict[tuple[str, bool], JudgeRequest] = {}
    for entry in asked:
        first.setdefault((entry.comparison.pair_id, entry.comparison.swapped), entry)
    return [
        replace(entry, request=_asked_again(entry.request))
        for key, entry in first.items()
        if _may_still_speak(orders.get(key, []), entry.request.temperature)
    ]


def _may_still_speak(verdicts: Sequence[Verdict], temperature: float) -> bool:
    if any(verdict.is_verdict for verdict in verdicts):
        return False
    return temperature > 0 or any(verdict in (Verdict.TIMED_OUT, Verdict.JUDGE_FAILED) for verdict in verdicts)


def _asked_again(request: GenerationRequest) -> GenerationRequest:
    return replace(request, request_id=f"{request.request_id}/{AGAIN}", seed=derive_seed(request.seed, AGAIN))
