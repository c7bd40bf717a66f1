"""``genrm-rl best-of``: the best of n answers to every prompt of a file, by any judge."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.config import RunConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.job import judge_of
from genrm_rl.evaluation.preset import preset_config
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import fold_all, no_answer, tie_of_equals
from genrm_rl.judging.judge import ORDER_FREE, Judge
from genrm_rl.judging.requests import judge_requests, orders_to_ask
from genrm_rl.judging.scalar import scalar_judgment, scalar_misfit, scalar_sequences
from genrm_rl.judging.thoughts import lacks_answer
from genrm_rl.judging.types import Asked, Judgment
from genrm_rl.learners.checkpoint import judge_hash
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.candidates import Candidates, read_candidates
from genrm_rl.preferences.rejects import RejectLog
from genrm_rl.preferences.types import Comparison, content_hash
from genrm_rl.rewards.best_of import best_of
from genrm_rl.rewards.rules import canonical_order, comparisons, next_matches, outcome_of, score, spread
from genrm_rl.rewards.types import Mask, Match
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import read_json, write_json, write_json_lines
from placement.room import check_room

WINNERS = "winners.jsonl"


def best_of_config(checkpoint: str, path: Path, files: Sequence[Path] | None, words: Sequence[str]) -> RunConfig:
    """The settings of a choice among the answers of one file: greedy, and where no config is given those of the run
    that made the checkpoint. Raises ConfigError."""
    where = path.expanduser()
    source = {"path": str(where.absolute() if where.exists() else path), "name": "candidates"}
    preset = {"data.test": [source], "evaluation.decoding": ["greedy"], "run.id": "best-of"}
    return preset_config(preset, checkpoint, files, words)


def choose_best(
    config: RunConfig, judge_name: str, form: Asked, rule: Rule | None, out: Path | None, console: Console
) -> Path:
    """Write the best answer to every prompt (``winners.jsonl``, in the order of the file) and return its path; ``out``
    gets a copy. The same command goes on after a kill. Raises DataError for rows that can't be used, unless
    ``data.on_bad_row`` is skip, and for a rule that this judge can't follow."""
    judge = judge_of(config, judge_name, form)
    judge = replace(judge, weights=judge_hash(judge.path))
    rule = rule or ("points" if judge.kind in ORDER_FREE else "round_robin")
    check_rule(rule, judge)
    check_room(config.rollout, config.learner)
    encoder = JudgeEncoder.from_config(load_tokenizer(judge.path), config.judge, config.model.max_context)
    groups = _read(config, encoder, judge, rule)
    with RunDirectory(config) as run, ExitStack() as stack:
        run.claim()
        asked = sum(comparisons(rule, len(set(group.responses))) for group in groups)
        console.print(
            f"best of n by {judge.name} in {run.path}: {len(groups):,} prompts, {asked:,} comparisons ({rule})",
            highlight=False,
        )
        stage = _stage(judge, rule, groups)
        engine = JudgeEngine(config, run, encoder, judge, console)
        if not run.done(f"{stage}/winners"):
            stack.enter_context(ray_session())
        stack.enter_context(engine)
        path = run.stage(f"{stage}/winners", Choice(config, run, encoder, engine, judge, rule, groups, stage).write)
        facts = run.manifest(f"{stage}/winners")
    console.print(in_words(facts), highlight=False)
    if out is not None:
        shutil.copyfile(path / WINNERS, out)
    console.print(f"winners: {out or path / WINNERS}", highlight=False)
    return path / WINNERS


def check_rule(rule: Rule, judge: Judge) -> None:
    """Raise DataError for a rule that needs what is not there."""
    if rule in AGAINST_REFERENCE:
        raise DataError(
            f"rule {rule} compares with a reference answer, and candidates have none; choose another --rule"
        )
    if rule == "points" and judge.kind not in ORDER_FREE:
        raise DataError(f"rule points needs a judge that rates answers, and {judge.name} compares; use --form points")


@dataclass(frozen=True)
class Choice:
    """One choice over all groups of a file, round by round: all rules but knockout need one round."""

    config: RunConfig
    run: RunDirectory
    encoder: JudgeEncoder
    engine: JudgeEngine
    judge: Judge
    rule: Rule
    groups: Sequence[Candidates]
    stage: str

    def write(self, directory: Path) -> dict[str, Any]:
        """Judge everything, and write the winners; returns what is said about them."""
        places = [canonical_order(group.responses, self.config.run.seed) for group in self.groups]
        outcomes: list[dict[Match, float | None]] = [{} for _ in self.groups]
        rounds = 0
        while matches := self._next(places, outcomes):
            found = self._judge({shown.pair_id: shown for _, _, shown in matches}, rounds)
            for number, match, shown in matches:
                outcomes[number][match] = outcome_of(self.rule, found[shown.pair_id])
            rounds += 1
        rows = [self._row(*each) for each in zip(self.groups, places, outcomes, strict=True)]
        write_json_lines(directory / WINNERS, rows)
        margins = [row["margin"] for row in rows if row["margin"] is not None]
        return {
            "judge_version": self.judge.version,
            "prompts": len(rows),
            "chosen": sum(row["best"] is not None for row in rows),
            "shared": sum(len({row["responses"][index] for index in row["tied"]}) > 1 for row in rows),
            "masked": sum(mask is not None for row in rows for mask in row["masks"]),
            "responses": sum(len(row["responses"]) for row in rows),
            "mean_margin": sum(margins) / len(margins) if margins else None,
            "rounds": rounds,
        }

    def _next(
        self, places: Sequence[list[list[int]]], outcomes: Sequence[dict[Match, float | None]]
    ) -> list[tuple[int, Match, Comparison]]:
        """What is judged now: number of the group, match, and the answers in it."""
        wanted = []
        for number, (group, mine, known) in enumerate(zip(self.groups, places, outcomes, strict=True)):
            texts = [group.responses[indices[0]] for indices in mine]
            wanted += [
                (number, match, group.compare(texts[match[0]], texts[match[1]]))
                for match in next_matches(self.rule, len(mine), known)
            ]
        return wanted

    def _judge(self, shown: Mapping[str, Comparison], rounds: int) -> dict[str, Judgment]:
        """Judgments by id of the comparison."""
        stage = f"{self.stage}/round{rounds}"
        silent = {name: no_answer(name) for name, each in shown.items() if lacks_answer(each)}
        shown = {name: each for name, each in shown.items() if name not in silent}
        return silent | (self._asked(shown, stage, rounds) if shown else {})

    def _asked(self, shown: Mapping[str, Comparison], stage: str, rounds: int) -> dict[str, Judgment]:
        if self.judge.kind != "generative":
            return self._scored(shown, stage)
        form, judge = self.judge.form or "cot", self.config.judge
        equal = {name for name, each in shown.items() if self.encoder.indistinct(each, form)}
        unequal = [each for name, each in shown.items() if name not in equal]
        sampled = self.config.evaluation.decoding[0] == "sampled"
        requests = judge_requests(
            orders_to_ask(unequal, judge.orders, self.config.run.seed),
            self.encoder,
            form=form,
            judge_version=self.judge.version,
            purpose="best_of",
            run_seed=self.config.run.seed,
            temperature=judge.temperature if sampled else 0.0,
            top_p=judge.top_p if sampled else 1.0,
            samples=judge.votes if sampled else 1,
        )
        what = f"best of n by {self.judge.name}, round {rounds + 1}"
        traces = self.engine.sample_stage(f"{stage}/traces", self.judge, requests, what, ask_again=True)
        return {name: tie_of_equals(name) for name in equal} | fold_all(traces, judge.aggregate, judge.orders)

    def _scored(self, shown: Mapping[str, Comparison], stage: str) -> dict[str, Judgment]:
        """One score for each different sequence: an answer that is in many comparisons is read once."""
        from genrm_rl.learners.scoring import score_sequences

        kind, learner = self.judge.kind, self.config.learner
        sequences = {name: scalar_sequences(kind, each, self.encoder) for name, each in shown.items()}

        def compute(directory: Path) -> dict[str, Any]:
            distinct = list(dict.fromkeys(ids for both in sequences.values() for ids in both))
            points = self.encoder.points if kind == "points" else None
            scores = dict(
                zip(distinct, score_sequences(self.judge.path, distinct, learner, points=points), strict=True)
            )
            found = {name: [scores[ids] for ids in both] for name, both in sequences.items()}
            write_json(directory / "scores.json", found)
            return {"sequences": len(distinct), "prompt_tokens": sum(map(len, distinct))}

        scores = read_json(self.run.stage(f"{stage}/scores", compute) / "scores.json")
        aggregate = self.config.judge.aggregate
        return {name: scalar_judgment(kind, name, *scores[name], aggregate) for name in shown}

    def _row(self, group: Candidates, places: list[list[int]], outcomes: dict[Match, float | None]) -> dict[str, Any]:
        earned = spread(places, score(self.rule, len(places), outcomes))
        rewards = [None if isinstance(value, Mask) else value for value in earned]
        best = best_of(rewards, group.responses)
        return {
            "file": group.row.file,
            "line": group.row.line,
            "prompt": [{"role": turn.role, "content": turn.content} for turn in group.prompt],
            "best": best.index,
            "response": None if best.index is None else group.responses[best.index],
            "margin": best.margin,
            "tied": list(best.tied),
            "responses": list(group.responses),
            "rewards": rewards,
            "masks": [str(value) if isinstance(value, Mask) else None for value in earned],
        }


def in_words(facts: Mapping[str, Any]) -> str:
    """What came out, in one line."""
    margin = "" if facts["mean_margin"] is None else f", mean margin {facts['mean_margin']:.3g}"
    return (
        f"{facts['chosen']:,} of {facts['prompts']:,} prompts have a best answer{margin}; the first place is shared in "
        f"{facts['shared']:,}; {facts['masked']:,} of {facts['responses']:,} answers have no reward"
    )


def _stage(judge: Judge, rule: Rule, groups: Sequence[Candidates]) -> str:
    """Kept apart by the judge's files, the rule, and what is chosen from."""
    what = content_hash(rule, [[[t.content for t in g.prompt], list(g.responses), g.guide.plain()] for g in groups])
    return f"best_of/{judge.name}-{judge.weights}/{what}"


def _read(config: RunConfig, encoder: JudgeEncoder, judge: Judge, rule: Rule) -> list[Candidates]:
    """The groups of the file that the judge can read in full."""
    (source,) = config.data.test
    log = RejectLog(config.data.on_bad_row)
    kept = []
    for group in read_candidates(source, Path(config.data.root), log):
        places = canonical_order(group.responses, config.run.seed)
        texts = [group.responses[indices[0]] for indices in places]
        shown = [group.compare(texts[a], texts[b]) for a, b in next_matches(rule, len(texts), {})]
        reason = next((found for each in shown if (found := _misfit(each, encoder, judge))), None)
        if reason is None:
            kept.append(group)
        else:
            log.add_row(group.row, "does_not_fit", reason)
    log.finish()
    if not kept:
        raise DataError(f"{source.path} has no prompt with answers that this judge can read")
    return kept


def _misfit(comparison: Comparison, encoder: JudgeEncoder, judge: Judge) -> str | None:
    if judge.form is None:
        return scalar_misfit(judge.kind, comparison, encoder)
    return encoder.response_misfit(comparison, judge.form)
