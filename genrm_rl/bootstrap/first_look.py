"""What `genrm-rl init` sees: the pairs, the model and the machine of somebody who begins."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from genrm_rl.config import DataConfig, JudgeConfig, ModelConfig, SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.models import ResolvedModel, load_tokenizer, resolve_model
from genrm_rl.preferences.folders import splits_of
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.sources import load_source
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.machine_checks import GIB, cgroup_memory_limit

MEASURED = 300  # pairs whose length is counted in tokens
ENOUGH = 0.95  # share of the pairs that the context shall hold
STEP = 64  # tokens that a context is rounded up to
COMPACT = JudgeConfig(max_rationale=112)
CHAT = JudgeConfig(template="mt_bench", max_rationale=256, force_verdict=True)
TEST_SPLITS = ("test", "validation", "valid", "val", "dev", "eval", "evaluation")


@dataclass(frozen=True)
class Pairs:
    """``sides`` name the split (None: the whole) of train, gate and test; what is missing is cut from train. The
    rest is of the training side."""

    path: Path
    sides: Mapping[str, str | None]
    columns: tuple[str, ...]
    layout: str
    rows: int
    refused: Mapping[str, int]
    pairs: Sequence[PreferencePair]


@dataclass(frozen=True)
class Lengths:
    """Tokens of one judgment, prompt and answer. ``context`` holds ``share`` of the measured pairs."""

    median: int
    longest: int
    context: int
    share: float


@dataclass(frozen=True)
class Machine:
    """``memory`` and ``gpu_memory`` (of one GPU) in GiB; ``memory`` is what is free."""

    cores: int
    memory: float
    gpus: int
    gpu_memory: float


def look_at_pairs(path: Path) -> Pairs:
    """Read a file or folder in any layout. Bad rows are counted. Raises DataError if no row can be read as a pair."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give --pairs a file or folder of preference pairs (docs/data.md)")
    path = path.expanduser().resolve()
    sides = choose_sides(splits_of(path) if path.is_dir() else [])
    source = SourceConfig(path=path.name, split=sides["train"])
    data = DataConfig(root=str(path.parent), on_bad_row="skip")
    first = next(iter(read_rows(source, path.parent)), None)
    pairs, report = load_source(source, data, 0)
    found = report.sources[0]
    columns = tuple(first.fields) if first is not None and isinstance(first.fields, Mapping) else ()
    return Pairs(path, sides, columns, found.layout, found.rows, found.refused, pairs)


def choose_sides(splits: Sequence[str]) -> dict[str, str | None]:
    """Which of a folder's splits is train, test and, where there are two to hold out, gate."""
    if not splits:
        return {"train": None}
    train = "train" if "train" in splits else splits[0]
    held_out = [name for name in TEST_SPLITS if name in splits and name != train]
    return {"train": train} | dict(zip(("test", "gate"), held_out, strict=False))


def look_at_model(name: str) -> ResolvedModel:
    """The model, found or made. Raises ModelError."""
    return resolve_model(ModelConfig(name=name, max_context=32))


def judge_for(model: ResolvedModel) -> JudgeConfig:
    """The tiny model speaks its own format, chat models read criteria and often forget the verdict line."""
    return COMPACT if model.name == "tiny" else CHAT


def measure(pairs: Sequence[PreferencePair], model: ResolvedModel, judge: JudgeConfig) -> Lengths:
    """How long judgments are, and the least context that holds nearly all. Raises DataError if not one pair fits."""
    limit = model.max_position or 1_000_000
    encoder = JudgeEncoder.from_config(load_tokenizer(model.path), judge, limit)
    forms = ("cot", "direct")
    sample = [pair for pair in pairs[:MEASURED] if encoder.misfit(pair, forms) is None]
    if not sample:
        why = encoder.misfit(pairs[0], forms)
        raise DataError(f"not one of the pairs can be judged by {model.name}: {why}; choose another --model")
    needed = sorted(
        max(len(encoder.prompt_ids(pair.comparison(swapped=swapped), "cot")) for swapped in (False, True))
        + encoder.tokens_after("cot")
        for pair in sample
    )
    enough = needed[min(len(needed) - 1, int(ENOUGH * len(needed)))]
    context = min(limit, STEP * (enough // STEP + 1))
    held = sum(tokens <= context for tokens in needed) / len(pairs[:MEASURED])
    return Lengths(int(statistics.median(needed)), needed[-1], context, held)


def look_at_machine() -> Machine:
    """Cores and memory that this process may use, and its GPUs."""
    import torch

    free = min(psutil.virtual_memory().available, cgroup_memory_limit() or psutil.virtual_memory().total)
    gpus = torch.cuda.device_count()
    on_gpu = torch.cuda.get_device_properties(0).total_memory if gpus else 0
    return Machine(len(os.sched_getaffinity(0)), free / GIB, gpus, on_gpu / GIB)


def in_words(counts: Mapping[str, int]) -> str:
    """``3 empty, 1 tie``, or ``none``."""
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "none"


def quoted(value: object) -> str:
    """A YAML scalar for any text."""
    return json.dumps(str(value), ensure_ascii=False)
