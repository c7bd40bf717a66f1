"""Stages of a run in which a judge learns: examples on disk, and fits on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from genrm_rl.config import Method, RunConfig
from genrm_rl.config.plan import fit_of
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.learners.examples import Example, read_examples, write_examples
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.rollout.trace_store import REASONS_FILE, write_reasons
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import file_hash, is_complete
from genrm_rl.runtime.tracking import MetricSink, open_sinks

EXAMPLES_FILE = "examples.arrow"


@dataclass(frozen=True)
class LearningStages:
    """Writes examples and fits judges, each once in a run. The ``engine`` makes way for a fit, whose history goes to
    the ``sink``."""

    config: RunConfig
    run: RunDirectory
    engine: JudgeEngine
    sink: MetricSink

    def examples(
        self,
        stage: str,
        examples: Iterable[Example],
        facts: Mapping[str, object],
        reasons: Sequence[tuple[str, str]] = (),
    ) -> Path:
        """Write training examples as a stage, as they are made, and beside them the reason code of each trace that they
        were selected from; returns the Arrow file."""

        def compute(directory: Path) -> dict[str, object]:
            if reasons:
                write_reasons(directory / REASONS_FILE, reasons)
            digest = write_examples(directory / EXAMPLES_FILE, examples)
            return {**facts, "examples": len(read_examples(directory / EXAMPLES_FILE)), "sha256": digest}

        return self.run.stage(stage, compute) / EXAMPLES_FILE

    def fit(
        self,
        folder: str,
        method: Method,
        objective: str,
        examples: Path,
        start: Judge,
        held_out: Iterable[Example] = (),
        output: str = "checkpoint",
    ) -> Path:
        """Fit under Ray Train from ``start``'s weights with the settings of ``method``; returns the checkpoint
        directory ``output`` below ``folder`` (manifest and marker included). On ``held_out`` the fit is measured if its
        settings ask for it; else they are not made.

        The fit publishes its own directory, so a kill inside it resumes from its last in-fit checkpoint.
        """
        from genrm_rl.learners.fit import FitSpec, fit

        checkpoint = self.run.path / folder / output
        name, settings = folder.removeprefix("methods/"), fit_of(self.config, method)
        if not is_complete(checkpoint):
            measured = None
            if held_out and settings.evaluate_every:
                measured = self.examples(f"{folder}/held_out", held_out, {})
            self.engine.make_way()
            result = fit(
                FitSpec(
                    objective=objective,
                    model_dir=start.path,
                    examples_path=examples,
                    output_dir=checkpoint,
                    fit=settings,
                    learner=self.config.learner,
                    seed=self.config.run.seed,
                    parent_version=start.version,
                    config_hash=self.run.hash,
                    data_hashes={examples.name: file_hash(examples)},
                    name=name,
                    points=self.engine.encoder.points if objective == "points" else None,
                    held_out_path=measured,
                )
            )
            for row in result.history:
                self.sink.log({f"{name}/{key}": value for key, value in row.items() if key != "step"}, int(row["step"]))
        return checkpoint

    def fit_round(self, folder: str, method: Method, objective: str, examples: Path, start: Judge) -> Path:
        """As :meth:`fit`, for a round of STaR: with ``bootstrap.base_share`` the judge is the mean with the base."""
        share, base = self.config.bootstrap.base_share, self.engine.base.path
        if not share:
            return self.fit(folder, method, objective, examples, start)
        from genrm_rl.learners.averaging import average_checkpoint

        trained = self.fit(folder, method, objective, examples, start, output="trained")
        return self.run.stage(f"{folder}/checkpoint", lambda made: average_checkpoint(base, trained, share, made))


@contextmanager
def opened_stages(
    config: RunConfig, run: RunDirectory, encoder: JudgeEncoder, base: Judge, console: Console
) -> Iterator[LearningStages]:
    """Ray, metric sinks and the judge's engine; engines and learners start when a stage needs them."""
    with (
        ray_session(),
        open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
        JudgeEngine(config, run, encoder, base, console) as engine,
    ):
        yield LearningStages(config, run, engine, sink)
