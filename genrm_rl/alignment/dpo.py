"""Rounds of DPO: judged pairs chosen by margin, or those of a file, and fits on them; the order of a round is in
``stories/align_dpo.py``."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.lost import LossWatch
from genrm_rl.alignment.ppo import version_of
from genrm_rl.alignment.prompts import PolicyPrompt, PromptSets
from genrm_rl.alignment.rollouts import Rollout, RolloutStages
from genrm_rl.alignment.statistics import rollout_metrics
from genrm_rl.alignment.step_log import StepLog
from genrm_rl.alignment.weights import PolicyWeights
from genrm_rl.config import DataConfig, SourceConfig
from genrm_rl.config.alignment import AlignConfig, SamplingConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.learners.examples import PairExample
from genrm_rl.learners.pair_objectives import DirectPreference, PairLogprobs, ReferencedPairs
from genrm_rl.learners.skips import Skips
from genrm_rl.preferences.sources import load_source


@dataclass
class OnlineDPO:
    """Rounds of DPO against the frozen starting policy."""

    config: AlignConfig
    prompts: PromptSets
    rollouts: RolloutStages
    weights: PolicyWeights
    log: StepLog

    def __post_init__(self) -> None:
        self.losses = LossWatch(self.config.reward)
        self.skips = Skips(self.config.learner.max_skipped)

    @property
    def steps(self) -> int:
        """How many rounds there are; a pair file is one."""
        return 1 if self.config.dpo.pairs else self.config.dpo.rounds

    def restore(self) -> int:
        """Weights and optimizer of the last checkpoint, the weights published. Returns the number of finished
        rounds."""
        found = self.weights.restore()
        first = found["step"] if found is not None else 0
        if first:
            self.weights.publish(version_of(first))
        return first

    def report(self, number: int, row: dict[str, Any], pairs: int, metrics: dict[str, float], seconds: float) -> None:
        """The round's row in ``steps/``, the metric sinks, and one line."""
        row |= {f"train/{name}": value for name, value in metrics.items()}
        row |= {"dpo/pairs": float(pairs), "seconds/step": round(seconds, 3)}
        self.log.step(number, row)
        shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("loss", "accuracy") if name in metrics)
        self.log.say(f"round {number + 1}: {pairs} pairs, {shown}, {row['seconds/step']:.1f} s")

    def pairs(self, number: int) -> tuple[dict[str, Any], list[PairExample]]:
        """The round's metrics so far, and its pairs: judged now, or from the file."""
        config, sampling, seed = self.config.dpo, self.config.sampling, self.config.run.seed
        if config.pairs:
            return {}, file_pairs(self.config, self.rollouts.sampler.chat)
        began = time.perf_counter()
        prompts = self.prompts.batch(number, config.prompts_per_round, seed)
        rollout = self.rollout(number, prompts)
        row: dict[str, Any] = rollout_metrics(prompts, rollout, sampling)
        row |= {"seconds/generate": rollout.generate_seconds, "seconds/judge": rollout.judge_seconds}
        self.log.say(
            f"round {number + 1}: {len(prompts)} questions answered and judged in {time.perf_counter() - began:.1f} s"
        )
        drawn = None if config.choose == "extremes" else f"pairs/{seed}/{number}"
        return row, judged_pairs(prompts, rollout.groups, config.min_margin, sampling, drawn)

    def rollout(self, number: int, prompts: Sequence[PolicyPrompt]) -> Rollout:
        """Judged answers of a round, as a stage of the run."""
        purpose, label, samples = f"round{number}", f"round {number + 1}: answers", self.config.dpo.samples_per_prompt
        rollout, judged_now = self.rollouts.stage(
            number, lambda: self.rollouts.collect(prompts, purpose, samples=samples, label=label)
        )
        if judged_now:
            self.losses.see(number, rollout.groups)
        return rollout

    def fit(self, number: int, pairs: Sequence[PairExample]) -> dict[str, float]:
        """``epochs`` passes over the pairs. Returns means over the optimizer steps that were applied."""
        config, skipped = self.config.dpo, self.skips.total
        segments = [segment for pair in pairs for segment in PairLogprobs().segments(pair)]
        data = ReferencedPairs(pairs, self.weights.reference.summed_logprobs(segments).reshape(-1, 2))
        objective = DirectPreference(config.beta, config.label_smoothing, config.nll_coefficient, config.loss == "ipo")
        rows = []
        for epoch in range(config.epochs):
            order = random.Random(f"dpo/{self.config.run.seed}/{number}/{epoch}").sample(range(len(data)), len(data))
            for start in range(0, len(order), config.batch_size):
                batch = [data[index] for index in order[start : start + config.batch_size]]
                done = self.weights.policy.step(batch, objective, learning_rate=config.learning_rate)
                if self.skips.see(done, f"round {number + 1}: an update"):
                    rows.append({"loss": done.loss, "grad_norm": done.grad_norm, **done.metrics})
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}
        return means | {"skipped_updates": float(self.skips.total - skipped)}


def judged_pairs(
    prompts: Sequence[PolicyPrompt],
    groups: Sequence[Sequence[JudgedAnswer]],
    min_margin: float,
    sampling: SamplingConfig,
    seed: str | None,
) -> list[PairExample]:
    """One pair of different answers from each group, whose rewards differ by ``min_margin`` or more: any of them at
    random from ``seed``, or with None the best and the worst answer. Masked answers take no
    part, nor do truncated ones unless ``sampling`` says so."""
    pairs = []
    for prompt, group in zip(prompts, groups, strict=True):
        earned = [(judged.answer, judged.earned(sampling)) for judged in group]
        rewarded = [(answer, reward) for answer, reward in earned if reward is not None]
        found = [
            (better, worse)
            for better, worse in permutations(rewarded, 2)
            if _margin(better, worse) >= min_margin and better[0].token_ids != worse[0].token_ids
        ]
        if not found:
            continue
        if seed is None:
            better, worse = max(found, key=lambda pair: _margin(*pair))
        else:
            better, worse = random.Random(f"{seed}/{prompt.id}").choice(found)
        pairs.append(PairExample.from_completions(prompt.token_ids, better[0].token_ids, worse[0].token_ids, prompt.id))
    return pairs


def _margin(better: tuple[Answer, float], worse: tuple[Answer, float]) -> float:
    return better[1] - worse[1]


def file_pairs(config: AlignConfig, chat: ChatEncoder) -> list[PairExample]:
    """Pairs of ``dpo.pairs`` as the policy would have written them. Raises DataError for a pair that does not fit."""
    longest = config.model.max_context
    pairs, _ = load_source(SourceConfig(path=config.dpo.pairs), DataConfig(), config.run.seed)
    examples = []
    for pair in pairs:
        turns = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
        prompt = chat.conversation_ids(turns, generation=True)
        chosen, rejected = ((*chat.answer_ids(text), chat.stop_token_id) for text in (pair.chosen, pair.rejected))
        tokens = len(prompt) + max(len(chosen), len(rejected))
        if tokens > longest:
            raise DataError(
                f"{config.dpo.pairs}: pair {pair.id} has {tokens} tokens, more than model.max_context {longest}"
            )
        examples.append(PairExample.from_completions(prompt, chosen, rejected, pair.id))
    return examples
