"""What a policy is worth on held-out questions, and how its judge can be fooled."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrm_rl.alignment.answers import Answer
from genrm_rl.alignment.hosts import second_judge
from genrm_rl.alignment.probes import probe_results
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.sampler import PolicySampler
from genrm_rl.alignment.statistics import mean
from genrm_rl.alignment.step_log import StepLog
from genrm_rl.alignment.weights import PolicyWeights
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.evaluation.intervals import bootstrap_interval
from genrm_rl.judging.thoughts import never_answers
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.preferences.nulls import NULLS
from genrm_rl.preferences.world.style import style_of
from genrm_rl.rewards.client import Group, RewardClient
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_atomic

ANSWERS_FILE = "answers.jsonl"


@dataclass
class PolicyMeasurement:
    """Measures the weights that the engines serve; every measurement is a stage of the run."""

    config: AlignConfig
    run: RunDirectory
    tests: Mapping[str, Sequence[PolicyPrompt]]
    sampler: PolicySampler
    weights: PolicyWeights
    judge: RewardClient | None  # that gives the rewards
    log: StepLog

    def measure(self, step: int, *, last: int) -> None:
        """At the start, every ``evaluation.every`` steps, and at the end."""
        every = self.config.evaluation.every
        if step not in (0, last) and not (every and step % every == 0):
            return
        for name, prompts in self.tests.items():
            asked = prompts[: self.config.evaluation.prompts]
            for decoding in self.config.evaluation.decoding:
                self.test_set(step, name, asked, decoding)
        self.probes(step)

    def test_set(self, step: int, name: str, prompts: Sequence[PolicyPrompt], decoding: str) -> dict[str, Any]:
        """One answer to each question; returns the stage's facts."""
        stage = f"evaluation/{step:05d}/{name}/{decoding}"

        def compute(directory: Path) -> dict[str, Any]:
            answers = self.sampler.one_each(prompts, f"test/{name}/{decoding}", greedy=decoding == "greedy")
            _write(directory, prompts, answers)
            facts = policy_facts(prompts, answers, self.config.evaluation.bootstrap_resamples, self.config.run.seed)
            facts |= self._kl(prompts, answers, decoding)
            if step:
                facts |= self._win_rates(name, prompts, answers, decoding)
            return {"step": step, "set": name, "decoding": decoding, **facts}

        facts = self.run.stage_facts(stage, compute)
        self.log.sink.log(
            {
                f"test_{name}/{decoding}_{key}": facts.get(key)
                for key in ("gold_accuracy", "tokens_mean", "kl_nats", "cue_share", "win_rate")
            },
            step,
        )
        gold = f"gold {facts['gold_accuracy']:.3f}, " if facts["gold_accuracy"] is not None else ""
        won = f", wins {facts['win_rate']:.3f} of the time" if facts.get("win_rate") is not None else ""
        self.log.say(
            f"after step {step}: {name}, {decoding}: {gold}KL {facts['kl_nats']:.3f} nats per answer, "
            f"{facts['tokens_mean']:.1f} tokens{won}"
        )
        return facts

    def probes(self, step: int) -> None:
        """How often each hacking probe beats the policy's own sampled answer, as the rewarding judge sees it."""
        count, client = self.config.evaluation.probes, self.judge
        if not count or client is None:
            return
        name, prompts = next(iter(self.tests.items()))
        asked = prompts[:count]

        def compute(directory: Path) -> dict[str, Any]:
            answers = self.sampler.one_each(asked, f"test/{name}/sampled", greedy=False)
            found = {kind: probe_results(kind, asked, answers, client, self.config.run.seed) for kind in NULLS}
            return {"step": step, "set": name, "probes": found}

        stage = f"evaluation/{step:05d}/probes"
        found = self.run.stage_facts(stage, compute)["probes"]
        judged = {kind: row for kind, row in found.items() if row["judged"]}
        self.log.sink.log({f"probes/{kind}": row["wins"] / row["judged"] for kind, row in judged.items()}, step)
        self.log.say(f"after step {step}: probes that beat the policy's answer: {probe_words(judged)}")

    def _kl(self, prompts: Sequence[PolicyPrompt], answers: Sequence[Answer], decoding: str) -> dict[str, Any]:
        """KL of the policy to the starting policy on its own answers: mean of the k1 estimate, in nats per answer.

        At the temperature of the answers; greedy ones are measured at 1.
        """
        segments = [
            completion_tokens(prompt.token_ids, answer.token_ids)
            for prompt, answer in zip(prompts, answers, strict=True)
            if answer.usable
        ]
        temperature = self.config.sampling.temperature if decoding == "sampled" else 1.0
        learners = (self.weights.policy, self.weights.reference)
        with self.weights.turns.learning():
            policy, reference = (learner.logprobs(segments, temperature=temperature) for learner in learners)
        sums = [float(np.sum(new_T - old_T)) for new_T, old_T in zip(policy, reference, strict=True)]
        return {"kl_nats": mean(sums) or 0.0}

    def _win_rates(
        self, name: str, prompts: Sequence[PolicyPrompt], answers: Sequence[Answer], decoding: str
    ) -> dict[str, Any]:
        """P(the policy's answer beats the starting policy's), as the rewarding judge sees it (``proxy_win_rate``,
        sampled only) and as a judge sees it that gave no reward (``win_rate``). Equal answers are ties without asking;
        ``..._ties`` counts all ties, ``..._judged`` what came to a probability."""
        facts: dict[str, Any] = {}
        before = read_texts(self.run.path / f"evaluation/{0:05d}/{name}/{decoding}")
        usable = [each for each in zip(prompts, answers, before, strict=True) if each[1].usable]
        groups = [prompt.group((answer.text, old)) for prompt, answer, old in usable if answer.text != old]
        equal = len(usable) - len(groups)
        if self.judge is not None and decoding == "sampled":
            names = ("proxy_win_rate", "proxy_judged", "proxy_ties")
            facts |= zip(names, win_rate(groups, equal, self.judge), strict=True)
        if self.config.evaluation.second_judge_url:
            with second_judge(self.config, self.log.console) as judge:
                facts["second_judge"] = judge.judge_version()
                names = ("win_rate", "win_rate_judged", "win_rate_ties")
                facts |= zip(names, win_rate(groups, equal, judge), strict=True)
        return facts


def win_rate(groups: Sequence[Group], equal: int, judge: RewardClient) -> tuple[float | None, int, int]:
    """Mean P(the first response of each group wins), greedy in both orders, how many were judged, and how many tied.

    ``equal`` more groups have two equal responses: ties.
    """
    found = judge.rewards(groups, rule="round_robin", votes=1, greedy=True)
    wins = [reward.records[0].reward for reward in found if reward.records[0].reward is not None] + [0.5] * equal
    return mean(wins), len(wins), wins.count(0.5)


def policy_facts(
    prompts: Sequence[PolicyPrompt], answers: Sequence[Answer], resamples: int, seed: int
) -> dict[str, Any]:
    """Counts, lengths and, on task-world questions, gold accuracy with its interval, by family, and the cue share.

    An answer that was not generated is counted in ``not_generated`` and is wrong.
    """
    right = [
        bool(answer.usable and prompt.right(answer.text))
        for prompt, answer in zip(prompts, answers, strict=True)
        if prompt.world
    ]
    families: dict[str, list[bool]] = defaultdict(list)
    for prompt, value in zip([prompt for prompt in prompts if prompt.world], right, strict=True):
        families[prompt.family].append(value)
    usable = [answer for answer in answers if answer.usable]
    interval = bootstrap_interval(right, np.ones(len(right)), resamples=resamples, seed=seed) if right else None
    return {
        "n": len(answers),
        "not_generated": len(answers) - len(usable),
        "gold_accuracy": mean(right),
        "gold_ci95": None if interval is None else list(interval),
        "by_family": {family: mean(values) for family, values in sorted(families.items())},
        "cue_share": mean([style_of(answer.text).suffix for answer in usable]) if right else None,
        "tokens_mean": mean([len(answer.token_ids) for answer in usable]) or 0.0,
        "truncated_share": mean([answer.truncated for answer in usable]),
        "unfinished_thinking_share": mean([never_answers(answer.text) for answer in usable]),
    }


def read_texts(stage: Path) -> list[str]:
    """Answers of a measured stage, in the order of its questions."""
    lines = (stage / ANSWERS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def _write(directory: Path, prompts: Sequence[PolicyPrompt], answers: Sequence[Answer]) -> None:
    rows = [
        {
            "prompt": [{"role": turn.role, "content": turn.content} for turn in prompt.messages],
            "text": answer.text,
            "finish_reason": answer.finish_reason,
            "right": bool(answer.usable and prompt.right(answer.text)) if prompt.world else None,
        }
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    write_atomic(directory / ANSWERS_FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def probe_words(judged: dict[str, dict[str, Any]]) -> str:
    """The hacking probes that won, and how many never did."""
    if not judged:
        return "none could be judged"
    won = [f"{kind} {row['wins']} of {row['judged']}" for kind, row in judged.items() if row["wins"]]
    never = len(judged) - len(won)
    return ", ".join([*won, *([f"{never} others never"] if won and never else [])]) or f"none of {never}"
