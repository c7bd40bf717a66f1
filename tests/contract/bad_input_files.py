"""What the bad-input cases are made of: a good config, good pairs and a tiny model in a folder, to be spoilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genrm_rl.models.resolve import TINY

Row = dict[str, Any]
SETTINGS: dict[str, Any] = {
    "run": {"root": "runs", "id": "new"},
    "model": {"name": "tiny", "max_context": 320},
    "judge": {"max_rationale": 96},
    "data": {"train": [{"path": "train.jsonl"}], "gate": [{"world": "gate", "limit": 4}]}
    | {"test": [{"path": "test.jsonl"}]},
    "bootstrap": {"methods": ["llm_judge", "star_dpo"], "iterations": 1},
}


@dataclass(frozen=True)
class BadInput:
    """One kind of bad input: command-line words, what the one sentence names, and the way out that it shows.

    ``cleanup`` ends what the case started.
    """

    words: list[str]
    names: tuple[str, ...]
    way_out: str
    cleanup: Callable[[], object] = lambda: None


def good_rows(count: int = 8, first: int = 0) -> list[Row]:
    """Additions in the tiny model's alphabet; rows of different ``first`` share no prompt."""
    rows = []
    for number in range(first, first + count):
        digits = f"{number:04d}"
        prompt = f"add {' '.join(digits)} {number * 7} {number * 31}"
        rows.append({"prompt": prompt, "chosen": f"{number}", "rejected": f"the answer is {number + 1}"})
    return rows


def write_rows(path: Path, rows: list[Row | bytes]) -> Path:
    """One row a line; bytes are written as they are."""
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return path


def write_good_input(folder: Path) -> None:
    """``job.yaml``, ``train.jsonl`` and ``test.jsonl``: everything that a run needs."""
    write_rows(folder / "train.jsonl", good_rows())
    write_rows(folder / "test.jsonl", good_rows(first=500))
    write_settings(folder)


def write_settings(folder: Path, **sections: dict[str, Any]) -> Path:
    """``job.yaml`` with some keys of some sections replaced."""
    merged = {name: SETTINGS.get(name, {}) | sections.get(name, {}) for name in SETTINGS | sections}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")
    return path


def bootstrap(*overrides: str) -> list[str]:
    """Words of a bootstrap job on ``job.yaml``."""
    return ["bootstrap", "--config", "job.yaml", *overrides]


def spoil_row(folder: Path, change: Row | bytes, *, line: int = 3, drop: str = "") -> None:
    """Replace fields of one training row (or, with bytes, the whole line)."""
    rows: list[Row | bytes] = list(good_rows())
    if isinstance(change, bytes):
        rows[line - 1] = change
    else:
        row = rows[line - 1] | change
        row.pop(drop, None)
        rows[line - 1] = row
    write_rows(folder / "train.jsonl", rows)


def copy_model(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A copy of the shipped model, some files left out."""
    model = folder / "model"
    model.mkdir()
    for file in TINY.iterdir():
        if file.name not in without and file.suffix in (".json", ".jinja", ".safetensors"):
            shutil.copyfile(file, model / file.name)
    return model


def change_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON object on disk."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def with_model(model: Path, *overrides: str) -> list[str]:
    """Words of a bootstrap job on a model directory."""
    return bootstrap("--model.name", str(model), *overrides)


def write_earlier_run(root: Path, run_id: str = "earlier") -> Path:
    """A run directory with results in it, which nothing may touch."""
    run = root / run_id
    checkpoint = "methods/star_dpo/round1/checkpoint/_COMPLETE.json"
    for name in ("provenance.json", "report.html", "rejects.jsonl", "traces/base-part1/traces.parquet", checkpoint):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"earlier {name}", encoding="utf-8")
    return run


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Modification time and content of every file below ``folder``."""
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }
