"""What is asked of an engine and what comes back; plain data, so that whoever asks needs no engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length", "deadline", "failed"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to sample. ``request_id`` is unique within a run and makes the request idempotent.

    ``logprob_token_ids`` asks for the log-probabilities of just these tokens at every generated position. ``seed`` is
    per request, so that the result depends neither on the batch nor on the engine that served it. ``sampled_logprobs``
    asks for the log-probability of every generated token.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    logprob_token_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    sampled_logprobs: bool = False


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """One finished sequence.

    ``logprobs_TK`` holds, per generated position (T), the log-probabilities of ``logprob_token_ids`` in the request's
    order (K), empty if none were asked for; ``sampled_logprobs_T`` those of the generated tokens. Both are of the model
    itself, before temperature and top-p, or of what was sampled from (``EngineSettings.logprobs_of``). ``error`` says
    what happened when ``finish_reason`` is ``failed`` or ``deadline``. ``cached_prompt_tokens`` were found in the
    engine's prefix cache and not computed again. ``weight_version`` sampled the first token; ``later_versions`` are
    those that were published meanwhile, each with the index of the first token that it sampled.
    """

    request_id: str
    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    logprobs_TK: tuple[tuple[float, ...], ...] = ()
    weight_version: str = ""
    engine_index: int = -1
    error: str = ""
    sampled_logprobs_T: tuple[float, ...] = ()
    cached_prompt_tokens: int = 0
    later_versions: tuple[tuple[int, str], ...] = ()
