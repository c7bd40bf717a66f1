"""Judges of the methods without STaR rounds: the untrained base, on-policy ones, direct GenRM, and reward models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genrm_rl.bootstrap.examples import bradley_terry_examples, direct_examples, pairrm_examples, points_examples
from genrm_rl.bootstrap.self_distilled import run_self_distilled
from genrm_rl.bootstrap.star import NothingToLearn
from genrm_rl.bootstrap.verdict_rl import run_verdict_rl
from genrm_rl.bootstrap.workshop import Workshop
from genrm_rl.config import Method
from genrm_rl.judging.judge import Judge


def train_other(method: Method, workshop: Workshop, before: Sequence[Judge] = ()) -> list[Judge]:
    """The judges that a method adds to the comparison (the untrained base adds two: with and without reasoning).
    ``before`` are those of the methods before it, from which it may start."""
    if method == "llm_judge":
        base = workshop.base
        return [base, Judge("llm_judge_direct", "generative", base.path, base.version, "direct")]
    if method == "verdict_rl":
        return [run_verdict_rl(workshop, judge_to_start(method, workshop, before))]
    if method == "self_distilled":
        return [run_self_distilled(workshop, judge_to_start(method, workshop, before))]
    if method == "genrm_direct":
        return [fit_direct(workshop)]
    if method == "genrm_points":
        return [fit_points(workshop)]
    return [fit_reward_model(method, workshop)]


def judge_to_start(method: Method, workshop: Workshop, before: Sequence[Judge]) -> Judge:
    """The judge whose weights an on-policy method starts from, asked to reason. Raises NothingToLearn if its method has
    none."""
    name = workshop.config.bootstrap.on_policy(method).start_from
    if name == "base":
        return workshop.base
    found = next((judge for judge in before if judge.name == name), None)
    if found is None:
        raise NothingToLearn(f"{method} can't start: {name} has no judge (bootstrap.{method}.start_from)")
    return replace(found, form="cot")


def fit_direct(workshop: Workshop) -> Judge:
    """GenRM without reasoning: next-token training on the one verdict token (Eq. 7), both orders of every pair."""
    examples = direct_examples(workshop.splits.train, workshop.encoder)
    file = workshop.examples_stage("methods/genrm_direct/round1/examples", examples, {})
    stage = "methods/genrm_direct/round1/checkpoint"
    checkpoint = workshop.fit_stage(stage, "genrm_direct", "direct", file, workshop.base, held_out=direct_examples)
    return Judge("genrm_direct", "generative", checkpoint, "genrm_direct-1", "direct", 1)


def fit_points(workshop: Workshop) -> Judge:
    """GenRM that rates each answer by itself: Bradley-Terry on the difference of expected points (Eq. 1-2)."""
    points, words = workshop.encoder.points, workshop.encoder.scale.hash
    examples = points_examples(workshop.splits.train, workshop.encoder)
    file = workshop.examples_stage("methods/genrm_points/round1/examples", examples, {"prompt_hash": words})
    checkpoint = workshop.fit_stage(
        "methods/genrm_points/round1/checkpoint",
        "genrm_points",
        "points",
        file,
        workshop.base,
        points=points,
        held_out=points_examples,
    )
    return Judge("genrm_points", "points", checkpoint, "genrm_points-1", None, 1)


def fit_reward_model(method: Method, workshop: Workshop) -> Judge:
    """Bradley-Terry (Eq. 1-2) or a PairRM-style classifier, from the same base and the same pairs."""
    made = bradley_terry_examples if method == "bradley_terry" else pairrm_examples
    examples = made(workshop.splits.train, workshop.encoder)
    file = workshop.examples_stage(f"methods/{method}/round1/examples", examples, {})
    stage = f"methods/{method}/round1/checkpoint"
    checkpoint = workshop.fit_stage(stage, method, method, file, workshop.base, held_out=made)
    return Judge(method, "bradley_terry" if method == "bradley_terry" else "pairrm", checkpoint, f"{method}-1", None, 1)
