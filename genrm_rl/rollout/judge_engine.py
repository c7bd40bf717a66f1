"""One engine pool that serves whichever judge is needed next, and samples its traces durably."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.reading import collect_traces
from genrm_rl.judging.requests import JudgeRequest, requests_again
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.rollout.trace_store import TraceJournal, read_traces, write_traces
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import remove_tree

if TYPE_CHECKING:
    from genrm_rl.learners.group import LearnerGroup
    from genrm_rl.rollout.pool import EnginePool

FLUSH_SECONDS = 5.0
RETRIED = (Verdict.TIMED_OUT, Verdict.JUDGE_FAILED)


class JudgeEngine:
    """Starts the pool at the first judgment that is not on disk already, so a finished run needs no engine at all.

    A judge is made current by publishing its weights to the running engines (nothing is restarted); each publication is
    proved by the parity probe, whose receipt is kept under ``sync/`` of the run.
    """

    def __init__(
        self, config: RunConfig, run: RunDirectory, encoder: JudgeEncoder, base: Judge, console: Console
    ) -> None:
        self.config = config
        self.run = run
        self.encoder = encoder
        self.base = base
        self.console = console
        self._pool: EnginePool | None = None
        self._serves: Path | str | None = base.path
        self._learners: tuple[LearnerGroup, ...] = ()
        self._cleanup = ExitStack()

    def __enter__(self) -> JudgeEngine:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._cleanup.__exit__(*exc)

    def sample_stage(
        self,
        name: str,
        judge: Judge,
        requests: Iterable[JudgeRequest],
        description: str,
        *,
        ask_again: bool = False,
        weights: LearnerGroup | None = None,
    ) -> list[Trace]:
        """Traces of ``requests`` by ``judge``, as stage ``name`` of the run.

        Finished traces go to a journal while others are still generated; after a kill only the missing ones are
        sampled. A trace that timed out or whose engine failed is asked for once more, then
        kept as the non-verdict that it is. With ``ask_again``, an order of a comparison that came to no verdict at all
        is asked once more (see :func:`requests_again`); its traces are added. ``weights``: see :meth:`serve`.
        """
        work = self.run.path / "work" / name

        def compute(directory: Path) -> dict[str, Any]:
            wanted = list(requests)
            journal = TraceJournal(work, FLUSH_SECONDS)
            before = len(journal.finished)
            started = time.perf_counter()
            self._sample(judge, wanted, journal, description, weights)
            if ask_again:
                finished = [journal.finished[request.request_id] for request in wanted]
                more = requests_again(wanted, finished)
                self._sample(judge, more, journal, f"{description} (orders without a verdict)", weights)
                wanted += more
            traces = [journal.finished[request.request_id] for request in wanted]
            write_traces(directory / "traces.parquet", traces)
            seconds = time.perf_counter() - started
            facts = {"recovered_traces": before, "sampling_seconds": round(seconds, 3)}
            return sampling_facts(traces, judge) | facts | {"prompt_hashes": self.encoder.prompt_hashes}

        path = self.run.stage(name, compute)
        remove_tree(work)
        return read_traces(path / "traces.parquet")

    def serve(self, judge: Judge, weights: LearnerGroup | None = None) -> None:
        """Make ``judge`` the one that the engines answer for; its weights are those of its directory, or those that
        the learner ``weights`` holds now, under the judge's version."""
        from genrm_rl.rollout.publication import keep_receipt

        pool = self._running_pool()
        wanted = judge.path if weights is None else judge.version
        if self._serves == wanted:
            return
        reference = None if weights is None else weights.probe_reference()
        for group in self._learners:
            group.offload()
        receipt = pool.publish(judge.version, weights or judge.path, reference)
        keep_receipt(self.run.path, receipt)
        self._serves = wanted

    def make_way(self) -> None:
        """With `placement: shared`, leave the GPUs to learners until the next judgment that is not on disk. Engines
        that have not started do so before: Ray finds room for all only in this order (`placement/turns.py`)."""
        if self.config.placement == "shared":
            self._running_pool().sleep()
            self._serves = None  # they have dropped their weights
            for group in self._learners:
                group.reload()

    @contextmanager
    def in_turn_with(self, learners: Iterable[LearnerGroup]) -> Iterator[None]:
        """Inside, ``learners`` live on while the engines work, and leave the GPUs to them with `placement: shared`."""
        self._learners = tuple(learners) if self.config.placement == "shared" else ()
        try:
            yield
        finally:
            self._learners = ()

    def let_go(self) -> None:
        """Serve the base again if the engines hold weights of a learner, which ends or has died."""
        if isinstance(self._serves, str):
            self.serve(self.base)

    def _sample(
        self,
        judge: Judge,
        wanted: list[JudgeRequest],
        journal: TraceJournal,
        description: str,
        weights: LearnerGroup | None,
    ) -> None:
        """What the journal does not have yet."""
        missing = [request for request in wanted if request.request_id not in journal.finished]
        if not missing:
            return
        self.serve(judge, weights)
        again: list[JudgeRequest] = []
        by_id = {request.request_id: request for request in missing}
        try:
            for trace in self._generate(missing, description):
                if trace.verdict in RETRIED:
                    again.append(by_id[trace.trace_id])
                else:
                    journal.add(trace)
            for trace in self._generate(again, f"{description} (again)"):
                journal.add(trace)
        finally:
            journal.flush()

    def _generate(self, requests: list[JudgeRequest], description: str) -> Iterable[Trace]:
        if not requests:
            return ()
        pool = self._running_pool()
        return collect_traces(requests, lambda batch: pool.generate(batch, progress=description), self.encoder)

    def _running_pool(self) -> EnginePool:
        if self._pool is None:
            from genrm_rl.rollout.shared_pool import engine_pool

            pool = engine_pool(
                self.base.path, self.config.rollout, self.config.model, console=self.console, role="judge"
            )
            self._pool = self._cleanup.enter_context(pool)
        return self._pool


def sampling_facts(traces: Sequence[Trace], judge: Judge) -> dict[str, Any]:
    """What a sampling stage records in its manifest: counts and tokens."""
    return {
        "judge_version": judge.version,
        "traces": len(traces),
        "prompt_tokens": sum(len(trace.prompt_token_ids) for trace in traces),
        "completion_tokens": sum(len(trace.completion_token_ids) for trace in traces),
        "verdicts": {kind.value: sum(trace.verdict is kind for trace in traces) for kind in Verdict},
    }
