"""What goes to an engine and what comes back; no vLLM in here, so that everybody may import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from genrm_rl.runtime.stalls import Whereabouts

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


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One running engine: the actor's process, vLLM's processes under it, the weights it serves, start-up seconds."""

    engine_index: int
    pid: int
    engine_pids: tuple[int, ...]
    weight_version: str
    start_seconds: float
    whereabouts: Whereabouts | None = None  # of the actor; only from its start


@dataclass(frozen=True, slots=True)
class ParityProbe:
    """Learner and engine log-probabilities of the same fixed prompts: mean and largest absolute difference in nats."""

    prompts: int
    tokens: int
    mean_abs_difference_nats: float
    max_abs_difference_nats: float
    limit_nats: float

    @property
    def passed(self) -> bool:
        """True if the mean difference is within the limit (NaN fails)."""
        return self.mean_abs_difference_nats <= self.limit_nats


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """Proof of one weight publication.

    ``seconds`` runs from the pause of the engines to the compared probe; ``transfer_seconds`` (the four phases) and
    ``probe_seconds`` (resume and the engines' answers) are parts of it. ``prepare_seconds`` comes before, while the
    engines still serve: reading the weights and computing the learner's side of the probe.
    """

    version: str
    bytes: int
    seconds: float
    engines: int
    backend: str
    probe: ParityProbe
    transfer_seconds: float = 0.0
    probe_seconds: float = 0.0
    prepare_seconds: float = 0.0
