"""Every kind of bad input gives one clear sentence and exit status 2 before anything expensive, and loses nothing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl import cli, cli_options
from genrm_rl.bootstrap.learning import LearningStages
from genrm_rl.bootstrap.run_data import load_run_data, misfit
from genrm_rl.bootstrap.star import learn_from
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import DataError, JudgeFailure, RunDirectoryError
from genrm_rl.evaluation.job import refuse_silence
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import record_from_judgment
from genrm_rl.judging.folding import fold
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.reading import trace_from_result
from genrm_rl.models.resolve import TINY
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.rollout.trace_store import read_traces
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.tracking import FanOut
from tests.contract.bad_align import ALIGN_KINDS
from tests.contract.bad_config import CONFIG_KINDS
from tests.contract.bad_data import DATA_KINDS
from tests.contract.bad_input_files import (
    BadInput,
    good_rows,
    snapshot,
    write_earlier_run,
    write_good_input,
    write_rows,
)
from tests.contract.bad_judge_output import ENCODER, OUTPUT_KINDS, PAIR, BadOutput
from tests.contract.bad_labels import LABEL_KINDS
from tests.contract.bad_loops import LOOP_KINDS
from tests.contract.bad_models import MODEL_KINDS, RESULT_KINDS
from tests.contract.bad_pages import PAGE_KINDS
from tests.contract.bad_play import PLAY_KINDS
from tests.contract.bad_runs import RUN_KINDS

ALL_KINDS = (
    *CONFIG_KINDS,
    *DATA_KINDS,
    *MODEL_KINDS,
    *RESULT_KINDS,
    *RUN_KINDS,
    *LOOP_KINDS,
    *LABEL_KINDS,
    *ALIGN_KINDS,
    *PLAY_KINDS,
    *PAGE_KINDS,
)
EXPENSIVE = ("traces", "methods", "gate", "evaluation", "sync", "work", "tensorboard")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with good input and the results of an earlier run; no hub can be asked."""
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    write_good_input(tmp_path)
    write_earlier_run(tmp_path / "runs")
    return tmp_path


def ray_runs() -> bool:
    """True if Ray is started in this process."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def refuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must exit with 2 and one sentence on stderr; returns the sentence."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.__name__)
def test_one_sentence_and_nothing_lost(
    kind: Callable[[Path], BadInput], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = kind(folder)
    before, ray_before = snapshot(folder), ray_runs()
    capsys.readouterr()
    try:
        sentence = refuse(bad.words, capsys)
    finally:
        bad.cleanup()
    for part in (*bad.names, bad.way_out):
        assert part in sentence
    assert not re.search(r"[.!?] [A-Z]|Traceback|[.\s]$", sentence), "more than one sentence"
    assert bad.way_out in documented()[kind.__name__.replace("_", " ")]
    assert ray_runs() == ray_before
    after = snapshot(folder)
    assert {name: after.get(name) for name in before} == before
    new = [Path(name).parts for name in after.keys() - before.keys()]
    assert not [parts for parts in new if set(parts) & set(EXPENSIVE) or parts[-1] == "provenance.json"], new


def documented() -> dict[str, str]:
    """Kind to what docs/errors.md says about it."""
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {kind: rest for kind, rest in rows if kind != "kind"}


def test_at_least_thirty_kinds_and_the_documentation_has_them_all() -> None:
    kinds = [kind.__name__.replace("_", " ") for kind in ALL_KINDS]
    assert len(set(kinds)) == len(kinds) >= 30
    assert sorted(documented()) == sorted([*kinds, *OUTPUT_KINDS])
    for kind, bad in OUTPUT_KINDS.items():
        assert documented()[kind] == bad.becomes


def test_what_was_refused_can_be_mended_under_the_same_id(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The way out that the sentence names changes a setting; the failed attempt must not stand in its way."""
    write_rows(folder / "train.jsonl", [*good_rows(), b"{}"])
    refuse(["bootstrap", "--config", "job.yaml"], capsys)
    mended = load_config(RunConfig, "job.yaml", ["--data.on-bad-row", "skip"])
    with RunDirectory(mended) as run:
        assert not run.resumed


def test_skip_keeps_every_rejected_row_with_its_reason_and_shows_the_count(folder: Path) -> None:
    good = good_rows(20)
    bad = {2: good[0] | {"chosen": ""}, 5: good[0] | {"label": "tie"}, 9: good[0] | {"prompt": "add " + "1 " * 400}}
    rows = [bad.get(line, row) for line, row in enumerate(good, start=1)]
    write_rows(folder / "train.jsonl", [*rows, b'{"prompt": "\xff"}', b"{"])
    config = load_config(RunConfig, "job.yaml", ["--data.on-bad-row", "skip"])
    with RunDirectory(config) as run:
        splits = load_run_data(run, misfit(config, ENCODER))
    rejects = [json.loads(line) for line in (run.path / "rejects.jsonl").read_text("utf-8").splitlines()]
    found = {reject["line"]: (reject["kind"], reject["file"]) for reject in rejects}
    kinds = {2: "empty", 5: "tie", 9: "does_not_fit", 21: "unreadable", 22: "unreadable"}
    assert found == {line: (kind, "train.jsonl") for line, kind in kinds.items()}
    assert all(reject["reason"] and reject["row"] for reject in rejects)
    assert "4 bad rows skipped, 1 ties left out" in splits.report.describe()
    assert len(splits.train) == 17
    assert json.loads((run.path / "data.json").read_text())["refused"] == {
        "does_not_fit": 1, "empty": 1, "tie": 1, "unreadable": 2,
    }  # fmt: skip


@pytest.mark.parametrize("kind", OUTPUT_KINDS)
def test_bad_judge_output_is_a_named_non_verdict_and_never_a_number(kind: str) -> None:
    bad: BadOutput = OUTPUT_KINDS[kind]
    trace = trace_from_result(bad.asked(), bad.result(), ENCODER)
    assert (trace.verdict, trace.p_a) == (bad.becomes, None)
    assert not trace.verdict.is_verdict and trace.verdict.slot is None
    judgment = fold([trace], "mean_probability")
    assert (judgment.verdict, judgment.p_a, judgment.votes) == (bad.becomes, None, 0)
    record = record_from_judgment(PAIR, judgment, judge="j", test_set="t", decoding="sampled")
    row = summarise([record], resamples=100)
    assert (row.accuracy_strict, row.accuracy_flexible, row.non_verdict_rate) == (0.0, 0.5, 1.0)
    assert row.ece is None and row.brier is None


def test_an_evaluation_without_one_verdict_is_no_result(folder: Path) -> None:
    bad = OUTPUT_KINDS["no verdict line"]
    judgment = fold([trace_from_result(bad.asked(), bad.result(), ENCODER)], "mean_probability")
    silent = summarise(
        [record_from_judgment(PAIR, judgment, judge="j", test_set="t", decoding="greedy")], resamples=100
    )
    refuse_silence("star_dpo", [silent, silent.model_copy(update={"non_verdict_rate": 0.5})], folder)
    with pytest.raises(JudgeFailure, match=r"star_dpo gave no verdict at all \(unparseable 100%\)"):
        refuse_silence("star_dpo", [silent], folder)


def test_a_judge_that_never_answers_stops_with_its_reasons(folder: Path) -> None:
    config = load_config(RunConfig, "job.yaml", [])
    bad = OUTPUT_KINDS["no verdict line"]
    trace = trace_from_result(bad.asked(), bad.result(), ENCODER)
    with RunDirectory(config) as run:
        splits = load_run_data(run, misfit(config, ENCODER))
        splits.train[:] = [PAIR]
        base = Judge("llm_judge", "generative", TINY, "base")
        engine = JudgeEngine(config, run, ENCODER, base, Console(quiet=True))
        stages = LearningStages(config, run, engine, FanOut(()))
        with pytest.raises(DataError, match="star_dpo has nothing to learn from .* 1 unparseable; sample more with"):
            learn_from("star_dpo", "methods/star_dpo/round1", [trace], splits.train, stages)


def test_a_broken_trace_file_is_named(folder: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"traces\.parquet is not a readable file of traces .* samples it"):
        read_traces(folder / "runs/earlier/traces/base-part1/traces.parquet")


def test_brackets_in_a_message_are_no_markup(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = refuse(["bootstrap", "--config", "[red]job[/].yaml"], capsys)
    assert sentence.startswith("config file [red]job[/].yaml does not exist")


def test_a_fault_of_the_program_still_shows_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(cli_options, "load_config", broken)
    with pytest.raises(ZeroDivisionError):  # nothing swallows it, so Python prints it and exits with 1
        cli.main(["bootstrap", "--config", "job.yaml"])


@pytest.mark.parametrize(("command", "goes_on"), [("bootstrap", True), ("doctor", False)])
def test_ctrl_c_says_how_to_go_on(
    command: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_options, "load_config", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main([command])
    assert ended.value.code == 130
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("interrupted") and ("give the same command again" in said) is goes_on


@pytest.mark.parametrize("words", [["evaluate"], ["bootstrp"], ["report", "--loud"], ["bootstrap", "--config"]])
def test_a_misused_command_line_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2 and capsys.readouterr().err
