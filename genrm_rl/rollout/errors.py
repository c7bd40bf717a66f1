"""What can go wrong with engines."""

from __future__ import annotations

from genrm_rl.errors import GenRMError, WeightSyncError


class EngineProcessDied(Exception):
    """Raised inside an engine actor when vLLM's own processes are gone; the pool then replaces the actor."""


class EngineLostError(GenRMError):
    """An engine could not be started, or died more often than `RolloutConfig.max_restarts` allows."""


class PublicationError(WeightSyncError):
    """A publication failed; ``phase`` names where. The engines serve the version that they had before."""

    def __init__(self, phase: str, message: str) -> None:
        super().__init__(message)
        self.phase = phase

    def __reduce__(self) -> tuple[type[PublicationError], tuple[str, str]]:
        return type(self), (self.phase, str(self))
