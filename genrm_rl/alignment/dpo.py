"""Rounds of DPO: judged pairs chosen by margin, or those of a file, and fits on them; the order of a round is in
``stories/align_dpo.py``."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.checkpoints import restore_state
from genrm_rl.alignment.hosts import Hosts
from genrm_rl.alignment.ppo import version_of
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.rollouts import Rollout, collect_rollout, read_rollout
from genrm_rl.alignment.statistics import rollout_metrics
from genrm_rl.config import DataConfig, SourceConfig
from genrm_rl.config.alignment import DPOConfig, SamplingConfig
from genrm_rl.errors import DataError
from genrm_rl.learners.examples import PairExample
from genrm_rl.learners.pair_objectives import DirectPreference, PairLogprobs, ReferencedPairs
from genrm_rl.learners.skips import Skips
from genrm_rl.preferences.sources import load_source
from genrm_rl.runtime.storage import write_json


@dataclass
class OnlineDPO:
    """Rounds of DPO against the frozen starting policy."""

    hosts: Hosts
    skips: Skips

    @property
    def config(self) -> DPOConfig:
        """The loop's settings."""
        return self.hosts.config.dpo

    @property
    def rounds(self) -> int:
        """How many there are; a pair file is one."""
        return 1 if self.config.pairs else self.config.rounds

    def restore(self) -> int:
        """Weights and optimizer of the last checkpoint, the weights published. Returns the number of finished
        rounds."""
        found = restore_state(self.hosts)
        first = found["step"] if found is not None else 0
        if first:
            self.hosts.publish(version_of(first))
        return first

    def report(self, number: int, row: dict[str, Any], pairs: int, metrics: dict[str, float], seconds: float) -> None:
        """The round's row in ``steps/``, the metric sinks, and one line."""
        row |= {f"train/{name}": value for name, value in metrics.items()}
        row |= {"dpo/pairs": float(pairs), "seconds/step": round(seconds, 3)}
        write_json(self.hosts.run.path / "steps" / f"{number:05d}" / "metrics.json", {"step": number, **row})
        self.hosts.sink.log(row, number)
        shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("loss", "accuracy") if name in metrics)
        self.hosts.say(f"round {number + 1}: {pairs} pairs, {shown}, {row['seconds/step']:.1f} s")

    def pairs(self, number: int) -> tuple[dict[str, Any], list[PairExample]]:
        """The round's metrics so far, and its pairs: judged now, or from the file."""
        if self.config.pairs:
            return {}, file_pairs(self.hosts)
        began = time.perf_counter()
        prompts = self.hosts.prompts.batch(number, self.config.prompts_per_round, self.hosts.seed)
        rollout = self.rollout(number, prompts)
        row: dict[str, Any] = rollout_metrics(prompts, rollout, self.hosts.config.sampling)
        row |= {"seconds/generate": rollout.generate_seconds, "seconds/judge": rollout.judge_seconds}
        self.hosts.say(
            f"round {number + 1}: {len(prompts)} questions answered and judged in {time.perf_counter() - began:.1f} s"
        )
        seed = None if self.config.choose == "extremes" else f"pairs/{self.hosts.seed}/{number}"
        return row, judged_pairs(prompts, rollout.groups, self.config.min_margin, self.hosts.config.sampling, seed)

    def rollout(self, number: int, prompts: Sequence[PolicyPrompt]) -> Rollout:
        """Judged answers of a round, as a stage of the run."""
        hosts, found = self.hosts, {}

        def compute(directory: Path) -> dict[str, Any]:
            rollout = collect_rollout(
                hosts.pool,
                hosts.rewarder,
                prompts,
                hosts.chat,
                hosts.config.sampling,
                purpose=f"round{number}",
                seed=hosts.seed,
                samples=self.config.samples_per_prompt,
                label=f"round {number + 1}: answers",
            )
            rollout.write(directory)
            found["rollout"] = rollout
            return rollout.facts()

        name = f"steps/{number:05d}/rollout"
        path = hosts.run.stage(name, compute)
        if "rollout" in found:
            hosts.losses.see(number, found["rollout"].groups)
            return found["rollout"]
        return read_rollout(path, hosts.run.manifest(name))

    def fit(self, number: int, pairs: Sequence[PairExample]) -> dict[str, float]:
        """``epochs`` passes over the pairs. Returns means over the optimizer steps that were applied."""
        config, skipped = self.config, self.skips.total
        segments = [segment for pair in pairs for segment in PairLogprobs().segments(pair)]
        data = ReferencedPairs(pairs, self.hosts.reference.summed_logprobs(segments).reshape(-1, 2))
        objective = DirectPreference(config.beta, config.label_smoothing, config.nll_coefficient, config.loss == "ipo")
        rows = []
        for epoch in range(config.epochs):
            order = random.Random(f"dpo/{self.hosts.seed}/{number}/{epoch}").sample(range(len(data)), len(data))
            for start in range(0, len(order), config.batch_size):
                batch = [data[index] for index in order[start : start + config.batch_size]]
                done = self.hosts.policy.step(batch, objective, learning_rate=config.learning_rate)
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


def file_pairs(hosts: Hosts) -> list[PairExample]:
    """Pairs of ``dpo.pairs`` as the policy would have written them. Raises DataError for a pair that does not fit."""
    chat, longest = hosts.chat, hosts.config.model.max_context
    pairs, _ = load_source(SourceConfig(path=hosts.config.dpo.pairs), DataConfig(), hosts.seed)
    examples = []
    for pair in pairs:
        turns = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
        prompt = chat.conversation_ids(turns, generation=True)
        chosen, rejected = ((*chat.answer_ids(text), chat.stop_token_id) for text in (pair.chosen, pair.rejected))
        tokens = len(prompt) + max(len(chosen), len(rejected))
        if tokens > longest:
            raise DataError(
                f"{hosts.config.dpo.pairs}: pair {pair.id} has {tokens} tokens, more than model.max_context {longest}"
            )
        examples.append(PairExample.from_completions(prompt, chosen, rejected, pair.id))
    return examples
