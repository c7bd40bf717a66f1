"""Judges of the methods without STaR rounds: the untrained base, on-policy ones, direct GenRM, and reward models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from genrm_rl.bootstrap.examples import bradley_terry_examples, direct_examples, pairrm_examples, points_examples
from genrm_rl.bootstrap.learning import LearningStages
from genrm_rl.bootstrap.promotion import Gate
from genrm_rl.bootstrap.self_distilled import run_self_distilled
from genrm_rl.bootstrap.star import NothingToLearn
from genrm_rl.bootstrap.verdict_rl import run_verdict_rl
from genrm_rl.config import Method
from genrm_rl.config.bootstrap import BootstrapConfig
from genrm_rl.judging.judge import Judge, JudgeKind
from genrm_rl.judging.types import Form
from genrm_rl.learners.examples import Example
from genrm_rl.preferences.sources import DataSplits

ON_POLICY = {"verdict_rl": run_verdict_rl, "self_distilled": run_self_distilled}


@dataclass(frozen=True)
class Once:
    """A method that fits once on examples of the pairs: its objective, what the examples are, and the judge's kind and
    form."""

    objective: str
    examples: Callable[..., Iterator[Example]]
    kind: JudgeKind
    form: Form | None = None


ONCE: Mapping[Method, Once] = {
    # Next-token training on the one verdict token (Eq. 7), both orders of every pair.
    "genrm_direct": Once("direct", direct_examples, "generative", "direct"),
    # Each answer by itself: Bradley-Terry on the difference of expected points (Eq. 1-2).
    "genrm_points": Once("points", points_examples, "points"),
    # Reward models from the same base and the same pairs: Bradley-Terry (Eq. 1-2), and a PairRM-style classifier.
    "bradley_terry": Once("bradley_terry", bradley_terry_examples, "bradley_terry"),
    "pairrm": Once("pairrm", pairrm_examples, "pairrm"),
}


def train_other(
    method: Method, splits: DataSplits, stages: LearningStages, gate: Gate, before: Sequence[Judge] = ()
) -> list[Judge]:
    """The judges that a method adds to the comparison (the untrained base adds two: with and without reasoning).
    ``before`` are those of the methods before it, from which it may start."""
    base = stages.engine.base
    if method == "llm_judge":
        return [base, Judge("llm_judge_direct", "generative", base.path, base.version, "direct")]
    if method in ON_POLICY:
        start = judge_to_start(method, stages.config.bootstrap, base, before)
        trained = ON_POLICY[method](start, splits.train, stages.engine, stages.sink)
        return [gate.passed(f"methods/{method}/round1", start, trained)]
    return [fit_once(method, splits, stages)]


def judge_to_start(method: Method, config: BootstrapConfig, base: Judge, before: Sequence[Judge]) -> Judge:
    """The judge whose weights an on-policy method starts from, asked to reason. Raises NothingToLearn if its method has
    none."""
    name = config.on_policy(method).start_from
    if name == "base":
        return base
    found = next((judge for judge in before if judge.name == name), None)
    if found is None:
        raise NothingToLearn(f"{method} can't start: {name} has no judge (bootstrap.{method}.start_from)")
    return replace(found, form="cot")


def fit_once(method: Method, splits: DataSplits, stages: LearningStages) -> Judge:
    """A judge fitted once, from the base, on the training pairs; measured on the gate's pairs if its fit asks for
    it."""
    how, folder, encoder = ONCE[method], f"methods/{method}/round1", stages.engine.encoder
    facts = {"prompt_hash": encoder.scale.hash} if how.kind == "points" else {}
    file = stages.examples(f"{folder}/examples", how.examples(splits.train, encoder), facts)
    held_out = how.examples(splits.gate, encoder)
    checkpoint = stages.fit(folder, method, how.objective, file, stages.engine.base, held_out)
    return Judge(method, how.kind, checkpoint, f"{method}-1", how.form, 1)
