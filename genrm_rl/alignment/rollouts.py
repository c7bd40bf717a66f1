"""One step's experience: groups are generated, and each goes to the judge while others are still generated."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_rl.alignment.answers import Answer, JudgedAnswer, read_answers, write_answers
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.rewarding import AskedGroup, Rewarder, ask
from genrm_rl.alignment.sampler import PolicySampler
from genrm_rl.rewards.types import Mask
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import read_json_lines, write_json_lines

ANSWERS_FILE, JUDGMENTS_FILE = "answers.parquet", "judgments.jsonl"


@dataclass(frozen=True)
class Rollout:
    """Judged groups of one step, in the order of its prompts, and what they cost."""

    groups: list[list[JudgedAnswer]]
    judgments: list[dict[str, Any]]
    judge_version: str
    generate_seconds: float
    judge_seconds: float  # waited for rewards after the last answer was generated

    def facts(self) -> dict[str, Any]:
        """For the manifest of the step: counts, tokens, seconds, masks by reason."""
        answers = [judged for group in self.groups for judged in group]
        masked = [judged.record.mask for judged in answers if judged.record.mask is not None]
        return {
            "judge_version": self.judge_version,
            "answers": len(answers),
            "tokens": sum(len(judged.answer.token_ids) for judged in answers),
            "masked": {str(mask): masked.count(mask) for mask in Mask if mask in masked},
            "judgments": len(self.judgments),
            "generate_seconds": round(self.generate_seconds, 3),
            "judge_seconds": round(self.judge_seconds, 3),
        }

    def and_then(self, more: Rollout) -> Rollout:
        """This one and a further one of the same step."""
        judgments = {judgment["id"]: judgment for judgment in (*self.judgments, *more.judgments)}
        return Rollout(
            self.groups + more.groups,
            list(judgments.values()),
            more.judge_version,
            self.generate_seconds + more.generate_seconds,
            self.judge_seconds + more.judge_seconds,
        )

    def write(self, directory: Path) -> None:
        """Answers with rewards, and the judgments behind them with their rationales."""
        write_answers(directory / ANSWERS_FILE, self.groups)
        write_json_lines(directory / JUDGMENTS_FILE, self.judgments)


def read_rollout(directory: Path, facts: dict[str, Any]) -> Rollout:
    """What :meth:`Rollout.write` wrote, with the manifest's facts."""
    return Rollout(
        read_answers(directory / ANSWERS_FILE),
        read_json_lines(directory / JUDGMENTS_FILE),
        facts["judge_version"],
        facts["generate_seconds"],
        facts["judge_seconds"],
    )


@dataclass(frozen=True)
class RolloutStages:
    """Judged answers of a run's steps, each on disk before anything is learned from it."""

    run: RunDirectory
    sampler: PolicySampler
    rewarder: Rewarder

    def stage(self, step: int, collect: Callable[[], Rollout]) -> tuple[Rollout, bool]:
        """The judged answers of a step, collected if they are not there. Also whether they were judged now, and not in
        an earlier life of the run."""
        name, found = f"steps/{step:05d}/rollout", list[Rollout]()

        def compute(directory: Path) -> dict[str, Any]:
            found.append(collect())
            found[0].write(directory)
            return found[0].facts()

        path = self.run.stage(name, compute)
        return (found[0], True) if found else (read_rollout(path, self.run.manifest(name)), False)

    def collect(
        self,
        prompts: Sequence[PolicyPrompt],
        purpose: str,
        *,
        samples: int,
        label: str | None = None,
        priority: int = 0,
    ) -> Rollout:
        """Generate ``samples`` answers to each prompt and have each finished group judged at once, by the judge that is
        served now. Rollouts of several threads share the engines; ``priority`` as of `EnginePool.generate`.

        ``rewarder.submit`` blocks while the judge has enough to do; meanwhile no finished answers are fetched from the
        engines, and those come to rest. Raises RewardServiceError when the judge stays away.
        """
        began = time.perf_counter()
        version = self.rewarder.begin_step()
        arrived: list[dict[int, Answer]] = [{} for _ in prompts]
        waiting: dict[int, AskedGroup] = {}
        answers = self.sampler.answers(prompts, purpose, samples=samples, label=label, priority=priority)
        for place, answer in answers:
            arrived[place][answer.index] = answer
            if len(arrived[place]) == samples:
                group = [arrived[place][i] for i in range(samples)]
                waiting[place] = ask(self.rewarder, prompts[place], group, self.sampler.sampling, version)
        generated = time.perf_counter()
        judged = [waiting[place].result() for place in range(len(prompts))]
        groups = [group for group, _ in judged]
        judgments = {judgment["id"]: judgment for _, behind in judged for judgment in behind}
        return Rollout(groups, list(judgments.values()), version, generated - began, time.perf_counter() - generated)
