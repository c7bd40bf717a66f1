"""The closed loop: a judge is bootstrapped, a policy aligned with it, and the policy's answers improve the judge."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import Section, setting
from genrm_rl.config.bootstrap import RunConfig, RunSettings
from genrm_rl.config.labelling import LabellingConfig

LabelSourceChoice = Literal["ai", "human", "both", "people"]
# What the loop sets in the jobs that it drives, and where it takes it from.
SET_BY_LOOP = {
    "judge.run": "run",
    "policy.run": "run",
    "policy.judge_model": "judge.model",
    "policy.judge": "judge.judge",
    "policy.serving.checkpoint": "the judge that is served",
    "policy.reward.url": "the judge that is served",
    "policy.reward.source": "the judge that is served",
}


class ComparisonsConfig(Section):
    """New comparisons from the aligned policy's answers to training questions."""

    questions: int = setting(200, "training questions that the policy is asked", unit="questions", ge=1)
    samples_per_question: int = setting(4, "answers per question, at `policy.sampling`", unit="answers", ge=2)
    pairs_per_question: int = setting(1, "pairs of distinct answers per question, at most", unit="pairs", ge=1)


class LabelsConfig(Section):
    """Who says which answer of a new comparison is better."""

    source: LabelSourceChoice = setting(
        "ai",
        "`people`: at the labelling desk, for which the loop waits (RLHF); `human`: a file that a person fills; `ai`: "
        "the judge (RLAIF); `both`: the file and the judge, the person's label wins",
    )
    votes: int = setting(4, "sampled judgments per order (ai)", unit="votes", ge=1)
    min_verdicts: int = setting(6, "judgments of both orders that must have come to a verdict (ai)", ge=2)
    min_probability: float = setting(
        0.8, "smallest P(the preferred answer wins), mean of both orders, which must agree (ai)", ge=0.5, le=1
    )

    desk: LabellingConfig = setting(LabellingConfig, "the labelling desk (people, and `genrm-rl label`)")

    @model_validator(mode="after")
    def _can_be_reached(self) -> LabelsConfig:
        if self.min_verdicts > 2 * self.votes:
            raise ValueError(
                f"min_verdicts {self.min_verdicts} can't be reached with {self.votes} votes in each of two orders; "
                f"set it to {2 * self.votes} or less"
            )
        return self


class LoopConfig(Section):
    """Everything that the closed loop needs."""

    run: RunSettings = setting(RunSettings, "identity")
    turns: int = setting(1, "turns of the loop; more of them continue a finished loop", unit="turns", free=True, ge=1)
    method: Literal["star_sft", "star_dpo", "star_rationalizer", "star_rationalizer_dpo"] = setting(
        "star_dpo", "method whose judge is served and trained again; one of `judge.bootstrap.methods`"
    )
    judge: RunConfig = setting(RunConfig, "bootstrap jobs")
    policy: AlignConfig = setting(AlignConfig, "alignment jobs")
    comparisons: ComparisonsConfig = setting(ComparisonsConfig, "new comparisons")
    labels: LabelsConfig = setting(LabelsConfig, "labels of new comparisons")

    @model_validator(mode="after")
    def _fits_together(self) -> LoopConfig:
        defaults = {"judge": RunConfig(), "policy": AlignConfig()}
        for key, origin in SET_BY_LOOP.items():
            job, _, name = key.partition(".")
            if _at(getattr(self, job), name) != _at(defaults[job], name):
                raise ValueError(f"in a loop {key} comes from {origin}; leave it out")
        if self.method not in self.judge.bootstrap.methods:
            raise ValueError(f"method {self.method} is not trained; list it in judge.bootstrap.methods")
        if self.judge.data.train and not self.judge.data.gate:
            raise ValueError(
                "judge.data.gate is empty; judges of different turns are compared on the same held-out pairs, so list "
                "them there"
            )
        return self


def _at(section: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        section = getattr(section, name)
    return section
