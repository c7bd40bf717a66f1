"""What can be wrong with a run that is continued, one function each, on a run that exists already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from genrm_rl.bootstrap.run_data import load_run_data, misfit
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.models import load_tokenizer
from genrm_rl.models.resolve import TINY
from genrm_rl.runtime.run_directory import RunDirectory
from tests.contract.bad_input_files import BadInput, bootstrap, good_rows, spoil_row, write_rows

HOLD_LOCK = """
import fcntl, sys
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def start_run(*overrides: str) -> RunConfig:
    """Start the run of ``job.yaml`` as the job does, and leave it after its data was read, with a stage in it."""
    config = load_config(RunConfig, "job.yaml", overrides)
    encoder = JudgeEncoder.from_config(load_tokenizer(TINY), config.judge, config.model.max_context)
    with RunDirectory(config) as run:
        load_run_data(run, misfit(config, encoder))
        run.claim()
        run.stage("traces/base-part1", lambda folder: {"bytes": (folder / "traces.parquet").write_bytes(b"traces")})
    return config


def other_settings(folder: Path) -> BadInput:
    start_run()
    words = bootstrap("--bootstrap.samples-per-order", "7", "--resume")
    return BadInput(words, ("'new'", "other settings (bootstrap.samples_per_order)"), "another --run.id")


def data_that_changed_under_the_run(folder: Path) -> BadInput:
    start_run()
    write_rows(folder / "train.jsonl", good_rows(7))
    return BadInput(bootstrap(), ("the data of run 'new' changed", "train: 8 pairs then, 7 now"), "put the files back")


def data_that_went_bad_under_the_run(folder: Path) -> BadInput:
    start_run()
    spoil_row(folder, {"chosen": ""})
    return BadInput(bootstrap("--resume"), ("train.jsonl:3: `chosen` is an empty answer",), "mend the data")


def all_rows_went_bad_under_the_run(folder: Path) -> BadInput:
    spoil_row(folder, {"chosen": ""})
    start_run("--data.on-bad-row", "skip")
    write_rows(folder / "train.jsonl", [row | {"chosen": ""} for row in good_rows()])
    words = bootstrap("--data.on-bad-row", "skip")
    return BadInput(words, ("No pair is left for train", "refused: 8 empty"), "give it more data")


def data_that_disappeared_under_the_run(folder: Path) -> BadInput:
    start_run()
    (folder / "test.jsonl").unlink()
    return BadInput(bootstrap(), ("test.jsonl does not exist", "that folder has"), "check its `path` and `data.root`")


def broken_record_of_the_run(folder: Path) -> BadInput:
    start_run()
    (folder / "runs/new/provenance.json").write_text('{"config_hash":', encoding="utf-8")
    return BadInput(bootstrap(), ("runs/new/provenance.json is not the record of a run",), "start another --run.id")


def second_driver(folder: Path) -> BadInput:
    """The lock is held by another process, which ends when its standard input does (with this test)."""
    config = start_run()
    lock = str(Path(config.run.root) / config.run.id / ".lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLD_LOCK, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    return BadInput(bootstrap(), ("'new'", "is being driven by process"), "wait for it", cleanup=holder.communicate)


def judgments_of_what_is_no_run(folder: Path) -> BadInput:
    return BadInput(["read", "runs"], ("runs is not a run directory (it has no provenance.json)",), "a job has made")


def judgments_of_a_run_that_has_none(folder: Path) -> BadInput:
    start_run()
    (folder / "runs/new/traces/base-part1/traces.parquet").unlink()
    return BadInput(["read", "runs/new"], ("runs/new holds no finished judgments yet",), "read it when")


def damaged_traces_of_a_run(folder: Path) -> BadInput:
    start_run()
    return BadInput(["read", "runs/new"], ("traces.parquet is not a readable Parquet file",), "base-part1 away")


RUN_KINDS = (
    other_settings,
    data_that_changed_under_the_run,
    data_that_went_bad_under_the_run,
    all_rows_went_bad_under_the_run,
    data_that_disappeared_under_the_run,
    broken_record_of_the_run,
    second_driver,
    judgments_of_what_is_no_run,
    judgments_of_a_run_that_has_none,
    damaged_traces_of_a_run,
)
