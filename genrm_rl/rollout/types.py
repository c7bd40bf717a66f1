"""What an engine and a publication of weights say of themselves; no vLLM in here, so that everybody may import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genrm_rl.runtime.stalls import Whereabouts


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
