"""Reference answers of the rules that need one, from the starting policy: one greedy answer to each question."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from genrm_rl.alignment.prompts import REFERENCES, REFERENCES_FILE, PromptSets
from genrm_rl.alignment.sampler import PolicySampler
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_atomic


def with_references(config: AlignConfig, prompts: PromptSets, sampler: PolicySampler, run: RunDirectory) -> PromptSets:
    """The questions with the starting policy's answers, where ``reward.reference`` is policy; kept with the run.

    To be called while the engines hold the starting policy: the first time, before anything is learned. A question
    that the engine failed to answer has no reference, so its answers are masked.
    """
    if not config.needs_reference or config.reward.reference != "policy":
        return prompts

    def compute(directory: Path) -> dict[str, Any]:
        asked = list({prompt.id: prompt for step in range(steps(config)) for prompt in batch(step)}.values())
        answers = sampler.one_each(asked, "reference", greedy=True, label="reference answers")
        rows = [
            {
                "prompt_id": answer.prompt_id,
                "reference": answer.text if answer.usable else None,
                "finish_reason": answer.finish_reason,
            }
            for answer in answers
        ]
        write_atomic(directory / REFERENCES_FILE, "".join(f"{json.dumps(row)}\n" for row in rows))
        return {"questions": len(asked), "without_answer": sum(row["reference"] is None for row in rows)}

    def batch(step: int):
        return prompts.batch(step, batch_size(config), config.run.seed)

    path = run.stage(REFERENCES, compute)
    rows = map(json.loads, (path / REFERENCES_FILE).read_text(encoding="utf-8").splitlines())
    known = {row["prompt_id"]: row["reference"] for row in rows}
    return replace(prompts, train=[replace(prompt, reference=known.get(prompt.id)) for prompt in prompts.train])


def steps(config: AlignConfig) -> int:
    """Steps or rounds in which answers are judged."""
    return config.ppo.steps if config.method == "ppo" else config.dpo.rounds


def batch_size(config: AlignConfig) -> int:
    """Questions of a step or round."""
    return config.ppo.prompts_per_step if config.method == "ppo" else config.dpo.prompts_per_round
