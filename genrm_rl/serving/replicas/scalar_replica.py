"""One replica of a served judge without words (Bradley-Terry, PairRM, points), behind the calls of one with words."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from ray import serve

from genrm_rl.config import LearnerConfig
from genrm_rl.judging.folding import no_answer, tie_of_equals
from genrm_rl.judging.judge import ORDER_FREE
from genrm_rl.judging.scalar import scalar_judgment, scalar_sequences
from genrm_rl.judging.thoughts import lacks_answer
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.preferences.types import Comparison
from genrm_rl.rollout.types import EngineReport
from genrm_rl.serving.contracts import Cost, Judged
from genrm_rl.serving.replicas.judge_replica import ServedJudge, Votes, replica_name

BATCH = 256  # sequences in one pass at most
BATCH_WAIT = 0.002  # seconds; a pass takes longer, so a busy replica batches by itself


class ScalarReplica:
    """Body of the Serve deployment. A score has no votes and no temperature: whatever is asked for, every comparison is
    scored once, and its two scores are one exact judgment."""

    def __init__(self, served: ServedJudge) -> None:
        from genrm_rl.learners.scoring import Scorer

        began = time.perf_counter()
        self._served = served
        self._encoder = served.encoder()
        settings = LearnerConfig(precision=served.engine.dtype, cpus_per_worker=served.engine.cpu_threads)
        points = self._encoder.points if served.kind == "points" else None
        self._scorer = Scorer(Path(served.engine.model_path), settings, points)
        self._start_seconds = time.perf_counter() - began
        self._asked = 0

    async def ready(self) -> str:
        """The judge version; the weights are loaded."""
        return self._served.version

    async def sleep(self) -> str:
        """The replica's name; it has no GPU to leave."""
        return replica_name()

    async def served(self) -> ServedJudge:
        """What this replica was told to serve."""
        return self._served

    async def report(self) -> EngineReport:
        """Version and process id, for operators and drills."""
        return EngineReport(0, os.getpid(), (), self._served.version, self._start_seconds)

    async def requests(self) -> int:
        """Sequences that were scored so far."""
        return self._asked

    async def judge(self, comparisons: Sequence[Comparison], votes: Votes, expires: float) -> list[Judged]:
        """Judgments in the order of ``comparisons``. ``expires`` is a time of the wall clock; what is late is
        TIMED_OUT."""
        return list(await asyncio.gather(*(self._judge(each, expires) for each in comparisons)))

    async def _judge(self, comparison: Comparison, expires: float) -> Judged:
        kind, version = self._served.kind, self._served.version
        if lacks_answer(comparison):
            return Judged(no_answer(comparison.pair_id), False, Cost(), version)
        if comparison.response_a == comparison.response_b and kind not in ORDER_FREE:
            return Judged(tie_of_equals(comparison.pair_id), False, Cost(), version)
        pair = scalar_sequences(kind, comparison, self._encoder)
        try:
            async with asyncio.timeout(max(0.001, expires - time.time())):
                first, second = await asyncio.gather(*map(self._score, pair))
        except TimeoutError:
            late = Verdict.TIMED_OUT
            judgment = Judgment(comparison.pair_id, late, None, late, None, None, 0)
            return Judged(judgment, False, Cost(votes_asked=1), version)
        cost = Cost(votes_asked=1, prompt_tokens=sum(map(len, pair)))
        judgment = scalar_judgment(kind, comparison.pair_id, first, second, self._served.judge.aggregate)
        return Judged(judgment, False, cost, version)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_WAIT)
    async def _score(self, sequences: list[tuple[int, ...]]) -> list[float]:
        """Scores of what waits just now; equal sequences, as every answer of a group is in many comparisons, once."""
        distinct = list(dict.fromkeys(sequences))
        self._asked += len(distinct)
        scores = dict(zip(distinct, await asyncio.to_thread(self._scorer.scores, distinct), strict=True))
        return [scores[sequence] for sequence in sequences]
