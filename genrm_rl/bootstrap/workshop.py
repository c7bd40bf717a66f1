"""What every method of a run shares: settings, data, the base judge, the engines, the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from genrm_rl.config import Method, RunConfig
from genrm_rl.config.plan import fit_of
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.examples import Example, read_examples, write_examples
from genrm_rl.preferences.sources import DataSplits
from genrm_rl.preferences.types import PreferencePair, Slot
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.rollout.trace_store import REASONS_FILE, write_reasons
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.tracking import MetricSink, open_sinks

EXAMPLES_FILE = "examples.arrow"


@dataclass
class Workshop:
    """Passed to every step of the loop; holds no results (those are stages of the run)."""

    config: RunConfig
    run: RunDirectory
    console: Console
    sink: MetricSink
    splits: DataSplits
    encoder: JudgeEncoder
    engine: JudgeEngine
    measurement: Measurement
    base: Judge

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.run.seed

    @cached_property
    def train_by_id(self) -> dict[str, PreferencePair]:
        """Training pairs by id."""
        return {pair.id: pair for pair in (*self.splits.train, *self.splits.tied)}

    @cached_property
    def train_labels(self) -> dict[str, Slot | None]:
        """Canonical chosen slot by pair id, None of pairs that are ties."""
        return {pair.id: None if pair.tie else pair.label() for pair in (*self.splits.train, *self.splits.tied)}

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        self.console.print(text, highlight=False)

    def examples_stage(
        self,
        stage: str,
        examples: Iterable[Example],
        facts: dict[str, object],
        reasons: Sequence[tuple[str, str]] = (),
    ) -> Path:
        """Write training examples as a stage, as they are made, and beside them the reason code of each trace that they
        were selected from; returns the Arrow file."""

        def compute(directory: Path) -> dict[str, object]:
            if reasons:
                write_reasons(directory / REASONS_FILE, reasons)
            digest = write_examples(directory / EXAMPLES_FILE, examples)
            return facts | {"examples": len(read_examples(directory / EXAMPLES_FILE)), "sha256": digest}

        return self.run.stage(stage, compute) / EXAMPLES_FILE

    def fit_stage(
        self,
        stage: str,
        method: Method,
        objective: str,
        examples: Path,
        start: Judge,
        *,
        points: PointTokens | None = None,
        held_out: Callable[[Iterable[PreferencePair], JudgeEncoder], Iterable[Example]] | None = None,
    ) -> Path:
        """Fit under Ray Train from ``start``'s weights; returns the checkpoint directory (manifest and marker
        included). ``points`` are the numbers of the objective of that name; ``held_out`` makes the gate's pairs into
        examples, on which the fit is measured if its settings ask for it.

        The fit publishes its own directory, so a kill inside it resumes from its last in-fit checkpoint.
        """
        from genrm_rl.learners.fit import FitSpec, fit
        from genrm_rl.runtime.storage import file_hash, is_complete

        output = self.run.path / stage
        name = stage.removeprefix("methods/").removesuffix("/checkpoint")
        if not is_complete(output):
            measured = None
            if held_out is not None and fit_of(self.config, method).evaluate_every:
                pairs = held_out(self.splits.gate, self.encoder)
                measured = self.examples_stage(stage.removesuffix("checkpoint") + "held_out", pairs, {})
            self.engine.make_way()
            result = fit(
                FitSpec(
                    objective=objective,
                    model_dir=start.path,
                    examples_path=examples,
                    output_dir=output,
                    fit=fit_of(self.config, method),
                    learner=self.config.learner,
                    seed=self.seed,
                    parent_version=start.version,
                    config_hash=self.run.hash,
                    data_hashes={examples.name: file_hash(examples)},
                    name=name,
                    points=points,
                    held_out_path=measured,
                )
            )
            for row in result.history:
                self.sink.log({f"{name}/{key}": value for key, value in row.items() if key != "step"}, int(row["step"]))
        return output


@contextmanager
def opened_workshop(
    config: RunConfig, run: RunDirectory, console: Console, splits: DataSplits, encoder: JudgeEncoder, base: Judge
) -> Iterator[Workshop]:
    """Ray, metric sinks and the judge's engine; engines and learners start when a stage needs them."""
    with (
        ray_session(),
        open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
        JudgeEngine(config, run, encoder, base, console) as engine,
    ):
        measurement = Measurement(config, run, encoder, engine)
        yield Workshop(config, run, console, sink, splits, encoder, engine, measurement, base)
