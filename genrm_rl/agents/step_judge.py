"""The step judge at work: it is asked by the engines, calibrated, and trained from outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.agents.rewards import EarnedEpisode
from genrm_rl.agents.step_calibration import StepCalibration, calibrate
from genrm_rl.agents.step_marks import (
    MARKS_FILE,
    StepMark,
    hindsight_marks,
    marked_steps,
    marking_text,
    parse_marks,
    values_of,
    written_marks,
)
from genrm_rl.agents.trajectories import by_task
from genrm_rl.errors import JudgeFailure
from genrm_rl.generation import GenerationRequest
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.requests import derive_seed
from genrm_rl.learners.examples import SequenceExample
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_json, write_json_lines

if TYPE_CHECKING:
    from genrm_rl.rollout.pool import EnginePool

TOKENS_PER_STEP = 24


@dataclass
class StepJudge:
    """Marks episodes with what ``pool`` serves: a judge of its own, or the policy itself."""

    pool: EnginePool
    chat: ChatEncoder
    run: RunDirectory
    max_context: int
    calibration: StepCalibration | None = None

    def mark(self, name: str, episodes: Sequence[AgentEpisode]) -> dict[tuple[str, int], tuple[float, ...]]:
        """Marks of every turn of each episode, as a stage of the run; nothing for an episode whose answer can't be
        read, that does not fit the context, or that has no outcome of its own."""
        path = self.run.stage(name, lambda directory: self._ask(directory, episodes))
        return {key: values_of(marks) for key, marks in marked_steps(path).items() if marks}

    def calibrate(self, name: str, episodes: Sequence[AgentEpisode]) -> StepCalibration:
        """Mark held-out episodes and fit; kept as ``step_judge.json`` of the run. Raises JudgeFailure for a judge that
        is inverted, constant or silent: its marks would teach the opposite, or nothing."""
        known = [episode for episode in episodes if not episode.masked and episode.turns]
        marks = self.mark(name, known)
        read = [episode for episode in known if (episode.task_id, episode.seed) in marks]
        found = calibrate(
            [float(np.mean(marks[episode.task_id, episode.seed])) for episode in read],
            [bool(episode.success) for episode in read],
            [float(episode.score or 0.0) for episode in read],
            len(known) - len(read),
        )
        write_json(self.run.path / "step_judge.json", found.as_dict())
        if found.problem:
            raise JudgeFailure(
                f"{found.in_words()} Train a step judge (genrm-rl train-step-judge), or set parts.steps to 0"
            )
        self.calibration = found
        return found

    def add_marks(self, step: int, earned: Sequence[EarnedEpisode]) -> list[EarnedEpisode]:
        """A step's episodes with their marks."""
        marks = self.mark(f"steps/{step:05d}/marks", [each.episode for each in earned])
        return [replace(each, marks=marks.get((each.episode.task_id, each.episode.seed), ())) for each in earned]

    def _ask(self, directory: Path, episodes: Sequence[AgentEpisode]) -> dict[str, Any]:
        requests = {}
        for number, episode in enumerate(episodes):
            request = self._request(f"{directory.name}/{number}", episode)
            if request is not None:
                requests[request.request_id] = number, request
        texts = {
            requests[result.request_id][0]: self.chat.answer_text(result.token_ids)
            for result in self.pool.generate([request for _, request in requests.values()], "step judge")
            if result.finish_reason == "stop"
        }
        rows, unreadable = [], 0
        for number, episode in enumerate(episodes):
            marks = parse_marks(texts[number], len(episode.turns)) if number in texts else None
            unreadable += marks is None
            rows.append(
                {
                    "task_id": episode.task_id,
                    "seed": episode.seed,
                    "text": texts.get(number),
                    "marks": None if marks is None else [{"mark": each.mark, "reason": each.reason} for each in marks],
                }
            )
        write_json_lines(directory / MARKS_FILE, rows)
        return {"episodes": len(rows), "unreadable": unreadable}

    def _request(self, name: str, episode: AgentEpisode) -> GenerationRequest | None:
        if episode.masked or not episode.turns:
            return None
        prompt = marking_prompt(episode, self.chat)
        longest = TOKENS_PER_STEP * len(episode.turns)
        if len(prompt) + longest > self.max_context:
            return None
        return GenerationRequest(
            request_id=name,
            prompt_token_ids=prompt,
            max_tokens=longest,
            temperature=0.0,
            top_p=1.0,
            seed=derive_seed("step judge", episode.task_id, episode.seed),
            stop_token_ids=(self.chat.stop_token_id,),
        )


def marking_prompt(episode: AgentEpisode, chat: ChatEncoder) -> tuple[int, ...]:
    """The step judge's prompt in tokens."""
    return chat.conversation_ids([{"role": "user", "content": marking_text(episode)}], generation=True)


def marking_examples(
    episodes: Sequence[AgentEpisode], chat: ChatEncoder, *, threshold: float, max_context: int
) -> list[SequenceExample]:
    """What a step judge learns from: episodes of tasks whose outcomes differ, with the marks that follow from these
    (:func:`hindsight_marks`). Those that do not fit are left out."""
    found = []
    for group in by_task(episodes).values():
        marked = hindsight_marks(group, threshold)
        for episode in group:
            marks = marked.get((episode.task_id, episode.seed), [])
            if any(mark.mark != "neutral" for mark in marks):
                found.append(_example(episode, marks, chat))
    return [example for example in found if len(example.input_ids) <= max_context]


def _example(episode: AgentEpisode, marks: Sequence[StepMark], chat: ChatEncoder) -> SequenceExample:
    said = (*chat.text_ids(written_marks(marks)), chat.stop_token_id)
    return SequenceExample.from_completion(marking_prompt(episode, chat), said, f"{episode.task_id}/{episode.seed}")
