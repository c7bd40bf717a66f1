"""Questions to the policy's engines, and the answers that come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrm_rl.alignment.answers import Answer, answer_of, answer_requests, place_of
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.config.alignment import SamplingConfig
from genrm_rl.judging.chat import ChatEncoder

if TYPE_CHECKING:
    from genrm_rl.rollout.pool import EnginePool


@dataclass(frozen=True)
class PolicySampler:
    """Asks the engines in the policy's own chat form, as the run samples; seeds are those of
    :func:`~genrm_rl.alignment.answers.answer_requests`."""

    pool: EnginePool
    chat: ChatEncoder
    sampling: SamplingConfig
    seed: int

    def answers(
        self,
        prompts: Sequence[PolicyPrompt],
        purpose: str,
        *,
        samples: int = 1,
        greedy: bool = False,
        label: str | None = None,
        priority: int = 0,
    ) -> Iterator[tuple[int, Answer]]:
        """``samples`` answers to each question as they come, each with the place of its question. ``label`` and
        ``priority`` are the progress and the priority of `EnginePool.generate`."""
        requests = answer_requests(
            prompts, self.chat, self.sampling, purpose=purpose, seed=self.seed, samples=samples, greedy=greedy
        )
        for result in self.pool.generate(requests, progress=label, priority=priority):
            place, index = place_of(result)
            yield place, answer_of(result, prompts[place], index, self.chat)

    def one_each(
        self, prompts: Sequence[PolicyPrompt], purpose: str, *, greedy: bool, label: str | None = None
    ) -> list[Answer]:
        """One answer to each question, in their order."""
        found = dict(self.answers(prompts, purpose, greedy=greedy, label=label))
        return [found[place] for place in range(len(prompts))]
