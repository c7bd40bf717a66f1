"""Ask one judge about one set of pairs and keep every judgment: the part of an evaluation that needs engines or
learners."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genrm_rl.config import RunConfig
from genrm_rl.evaluation.records import (
    RECORDS,
    JudgmentRecord,
    read_records,
    record_from_judgment,
    record_from_probability,
    write_records,
)
from genrm_rl.evaluation.schema_results import Decoding
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import Aggregate, fold_all
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.requests import judge_requests, orders_to_ask
from genrm_rl.judging.scalar import scalar_probabilities, scalar_sequences
from genrm_rl.judging.types import Trace
from genrm_rl.preferences.types import PreferencePair, fingerprint
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.run_directory import RunDirectory


class Measurement:
    """Measures judges within one run. Every method is a stage: what is on disk already is only read."""

    def __init__(self, config: RunConfig, run: RunDirectory, encoder: JudgeEncoder, engine: JudgeEngine) -> None:
        self.config = config
        self.run = run
        self.encoder = encoder
        self.engine = engine

    def decodings(self, judge: Judge) -> tuple[Decoding, ...]:
        """How a judge is decoded: one-token and scalar judges have one way only."""
        return self.config.evaluation.decoding if judge.form == "cot" else ("deterministic",)

    def test_set(
        self, judge: Judge, name: str, pairs: Sequence[PreferencePair], decoding: Decoding
    ) -> list[JudgmentRecord]:
        """One row per pair, both orders; on the first ``majority_pairs`` pairs ``majority_votes`` votes if a curve is
        wanted."""
        stage = suite_folder(judge, name, pairs, decoding)
        if judge.kind != "generative":
            return self._scalar(stage, judge, name, pairs)
        votes = self.config.judge.votes if decoding == "sampled" else 1
        traces = self._traces(stage, judge, pairs, decoding, votes, f"{judge.name} on {name}, {decoding}")
        return self._records(stage, judge, name, pairs, decoding, traces)

    def majority_set(self, judge: Judge, name: str, pairs: Sequence[PreferencePair]) -> list[JudgmentRecord]:
        """Rows with many sampled votes per order, for the maj@k curve."""
        votes = self.config.evaluation.majority_votes
        stage = suite_folder(judge, name, pairs, "majority")
        traces = self._traces(stage, judge, pairs, "sampled", votes, f"{judge.name} on {name}, {votes} votes")
        return self._records(stage, judge, name, pairs, "sampled", traces)

    def measured(self, judge: Judge, name: str, pairs: Sequence[PreferencePair], decoding: Decoding) -> bool:
        """Whether :meth:`test_set` would only read."""
        return self.run.done(f"{suite_folder(judge, name, pairs, decoding)}/judgments")

    def gate(self, judge: Judge, pairs: Sequence[PreferencePair]) -> list[JudgmentRecord]:
        """One sampled trace per order on the gate pairs."""
        stage = f"gate/{judge.version}"
        decoding: Decoding = "sampled" if judge.form == "cot" else "deterministic"
        traces = self._traces(stage, judge, pairs, decoding, 1, f"gate of {judge.version}")
        return self._records(stage, judge, "gate", pairs, decoding, traces)

    def probe_set(self, judge: Judge, pairs: Sequence[PreferencePair]) -> list[JudgmentRecord]:
        """One row per pair of the probe gate: greedy, always both orders, whatever ``judge.orders`` says."""
        decoding: Decoding = "greedy" if judge.form == "cot" else "deterministic"
        stage = self._probe_stage(judge, pairs)
        if judge.kind != "generative":
            return self._scalar(stage, judge, "null_answers", pairs)
        asked = self.config.judge.model_copy(update={"orders": "both"})
        both = Measurement(self.config.model_copy(update={"judge": asked}), self.run, self.encoder, self.engine)
        traces = both._traces(stage, judge, pairs, decoding, 1, f"{judge.name} at the probe gate")
        return both._records(stage, judge, "null_answers", pairs, decoding, traces)

    def probed(self, judge: Judge, pairs: Sequence[PreferencePair]) -> bool:
        """Whether :meth:`probe_set` would only read."""
        return not pairs or self.run.done(f"{self._probe_stage(judge, pairs)}/judgments")

    @staticmethod
    def _probe_stage(judge: Judge, pairs: Sequence[PreferencePair]) -> str:
        return suite_folder(judge, "null_answers", pairs, "greedy").replace("evaluation/", "probes/", 1)

    def _traces(
        self,
        stage: str,
        judge: Judge,
        pairs: Sequence[PreferencePair],
        decoding: Decoding,
        votes: int,
        description: str,
    ) -> list[Trace]:
        sampled = decoding == "sampled"
        requests = judge_requests(
            orders_to_ask((pair.comparison() for pair in pairs), self.config.judge.orders, self.config.run.seed),
            self.encoder,
            form=judge.form or "cot",
            judge_version=judge.version,
            purpose=stage.rpartition("/")[2] if stage.startswith("evaluation/") else "gate",
            run_seed=self.config.run.seed,
            temperature=self.config.judge.temperature if sampled else 0.0,
            top_p=self.config.judge.top_p if sampled else 1.0,
            samples=votes,
        )
        return self.engine.sample_stage(f"{stage}/traces", judge, requests, description, ask_again=True)

    def _records(
        self,
        stage: str,
        judge: Judge,
        name: str,
        pairs: Sequence[PreferencePair],
        decoding: Decoding,
        traces: list[Trace],
    ) -> list[JudgmentRecord]:
        def compute(directory: Path) -> dict[str, Any]:
            judgments = fold_all(traces, self.config.judge.aggregate, self.config.judge.orders)
            rows = [
                record_from_judgment(pair, judgments[pair.id], judge=judge.name, test_set=name, decoding=decoding)
                for pair in pairs
            ]
            write_records(directory / RECORDS, rows)
            return {"judge_version": judge.version, "pairs": len(rows)}

        return read_records(self.run.stage(f"{stage}/judgments", compute) / RECORDS)

    def _scalar(self, stage: str, judge: Judge, name: str, pairs: Sequence[PreferencePair]) -> list[JudgmentRecord]:
        def compute(directory: Path) -> dict[str, Any]:
            scores, lengths = self._scores(judge, pairs)
            rows = [
                _scalar_record(judge, name, pair, values, self.config.judge.aggregate, tokens)
                for pair, values, tokens in zip(pairs, scores, lengths, strict=True)
            ]
            write_records(directory / RECORDS, rows)
            return {"judge_version": judge.version, "pairs": len(rows)}

        return read_records(self.run.stage(f"{stage}/judgments", compute) / RECORDS)

    def _scores(self, judge: Judge, pairs: Sequence[PreferencePair]) -> tuple[list[tuple[float, float]], list[int]]:
        """Two scores per pair: rewards of canonical A and B (Bradley-Terry), or logits of both orders (PairRM); and the
        tokens of both together."""
        from genrm_rl.learners.scoring import score_sequences

        sequences = [
            sequence for pair in pairs for sequence in scalar_sequences(judge.kind, pair.comparison(), self.encoder)
        ]
        points = self.encoder.points if judge.kind == "points" else None
        flat = score_sequences(judge.path, sequences, self.config.learner, points=points)
        lengths = [len(one) + len(other) for one, other in zip(sequences[::2], sequences[1::2], strict=True)]
        return list(zip(flat[::2], flat[1::2], strict=True)), lengths


def suite_folder(judge: Judge, name: str, pairs: Sequence[PreferencePair], what: str) -> str:
    """Where a run keeps what a judge said about a test set. A judge from elsewhere is kept apart by its weights, and
    its test sets by what they hold, so that edited data or another checkpoint can't give old figures; the run's own
    judges and data can't change under it."""
    if judge.weights:
        return f"evaluation/{judge.name}-{judge.weights}/{name}-{fingerprint(pairs)}/{what}"
    return f"evaluation/{judge.name}/{name}/{what}"


def _scalar_record(
    judge: Judge,
    name: str,
    pair: PreferencePair,
    scores: tuple[float, float],
    aggregate: Aggregate,
    prompt_tokens: int,
) -> JudgmentRecord:
    return record_from_probability(
        pair,
        *scalar_probabilities(judge.kind, *scores),
        judge=judge.name,
        test_set=name,
        judge_version=judge.version,
        aggregate=aggregate,
        prompt_tokens=prompt_tokens,
    )
