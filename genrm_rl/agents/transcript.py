"""The tokens of an episode: appended as they were sampled, never tokenised again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrm_rl.learners.experience import SampledAnswer


@dataclass(frozen=True, slots=True)
class TurnTokens:
    """One turn as a learner sees it. ``context_ids`` is what came since the turn before (the end of that turn, what was
    observed), or with ``restart`` the whole prompt; ``logprobs_T`` are the engine's of the sampled ``token_ids``."""

    context_ids: tuple[int, ...]
    restart: bool
    token_ids: tuple[int, ...]
    logprobs_T: tuple[float, ...]
    weight_version: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Turns of one unbroken sequence. ``spans`` are (first, after the last) sampled token of each turn in
    ``completion_ids``; ``first`` is the number of the first turn."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    logprobs_T: tuple[float, ...]
    first: int

    def sampled(self, shaped: float, turn_shaped: Sequence[float] = ()) -> SampledAnswer:
        """What a learner needs; ``shaped`` is the episode's advantage, ``turn_shaped`` those of all its turns."""
        own = tuple(turn_shaped[self.first : self.first + len(self.spans)])
        return SampledAnswer(
            self.prompt_ids, self.completion_ids, self.logprobs_T, shaped, turns=self.spans, turn_shaped=own
        )


def stretches(turns: Sequence[TurnTokens]) -> list[Stretch]:
    """The sequences of an episode: one if the conversation was kept, one for each turn that began it anew."""
    starts = [number for number, turn in enumerate(turns) if turn.restart or number == 0]
    return [_stretch(turns[start:end], start) for start, end in zip(starts, [*starts[1:], len(turns)], strict=True)]


def _stretch(turns: Sequence[TurnTokens], first: int) -> Stretch:
    completion: list[int] = []
    spans = []
    for number, turn in enumerate(turns):
        if number:
            completion += turn.context_ids
        spans.append((len(completion), len(completion) + len(turn.token_ids)))
        completion += turn.token_ids
    logprobs = tuple(value for turn in turns for value in turn.logprobs_T)
    return Stretch(turns[0].context_ids, tuple(completion), tuple(spans), logprobs, first)
