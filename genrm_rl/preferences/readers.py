"""Files and datasets to rows, one at a time, each with its file and line. What is wrong with a row is told, not raised.

A fault of the whole file (absent, cut off, another format) always raises DataError: the number of rows behind it is
unknown, so there is nothing to skip.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genrm_rl.config.data import SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.validation import RawRow

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_FILE_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
_BATCH_ROWS = 1024


def read_rows(source: SourceConfig, root: Path) -> Iterator[RawRow]:
    """Rows of a source with a ``path``. Raises DataError, naming file and way out, when it can't be read at all."""
    path = Path(root).expanduser() / str(source.path)
    if path.is_dir():
        return _read_directory(path, source)
    if path.is_file():
        return _read_file(path)
    if str(source.path).endswith(_FILE_SUFFIXES) or not _HUB_ID.match(str(source.path)):
        raise DataError(
            f"{path} does not exist (data source `{source.label}`{_what_is_there(path)}); "
            "check its `path` and `data.root`"
        )
    return _read_hub(source, path)


def _read_file(path: Path) -> Iterator[RawRow]:
    if path.name.endswith(".parquet"):
        return read_parquet(path)
    if path.name.endswith(_FILE_SUFFIXES):
        return read_jsonl(path)
    raise DataError(f"{path} is neither JSONL(.gz) nor Parquet by its name; rename it to what it is.")


def read_jsonl(path: Path) -> Iterator[RawRow]:
    """Rows of a JSONL file, gzipped if its name ends in ``.gz``. Blank lines are no rows."""
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as handle:
            line = 0
            try:
                for line, payload in enumerate(handle, start=1):
                    if payload.strip():
                        yield _parse_line(
                            str(path), line, payload.removeprefix(b"\xef\xbb\xbf") if line == 1 else payload
                        )
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(
                    f"{path} is cut off or is no valid gzip file after line {line} ({error}); copy or download it "
                    "again."
                ) from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.") from error


def _parse_line(file: str, line: int, payload: bytes) -> RawRow:
    try:
        text = payload.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        shown = payload.decode("utf-8", "backslashreplace").rstrip("\r\n")
        return RawRow(
            file, line, problem=f"not UTF-8 (byte {error.start + 1}: 0x{payload[error.start]:02x})", text=shown
        )
    try:
        return RawRow(file, line, fields=json.loads(text), text=text)
    except (ValueError, RecursionError) as error:  # ValueError alone: a number of thousands of digits
        detail = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        return RawRow(file, line, problem=f"not valid JSON ({detail})", text=text)


def read_parquet(path: Path) -> Iterator[RawRow]:
    """Rows of a Parquet file, read in batches."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            line = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for index in range(batch.num_rows):
                    line += 1
                    yield _row_of_batch(str(path), line, batch, index)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({_first_line(error)}); write or download it again"
        ) from error


def _row_of_batch(file: str, line: int, batch: Any, index: int) -> RawRow:
    try:
        fields = batch.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        return RawRow(file, line, problem=f"not UTF-8 (byte {error.start + 1} of a text column)", text="")
    return RawRow(file, line, fields=fields)


def _read_directory(path: Path, source: SourceConfig) -> Iterator[RawRow]:
    """A folder written by ``save_to_disk``, or one with a file per split (``<split>.jsonl.gz``)."""
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _read_saved(path, source)
    if source.split is not None:
        for suffix in _FILE_SUFFIXES:
            if (path / f"{source.split}{suffix}").is_file():
                return _read_file(path / f"{source.split}{suffix}")
    found = sorted(entry.name for entry in path.iterdir())[:8]
    raise DataError(
        f"{path} is a folder without {'a split ' + repr(source.split) if source.split else 'a saved dataset'} "
        f"(found {', '.join(found) or 'nothing'}); give a file, or a folder written by `datasets` with its `split`."
    )


def _read_saved(path: Path, source: SourceConfig) -> Iterator[RawRow]:
    import pyarrow
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(path))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable saved dataset: {_first_line(error)}.") from error
    if isinstance(loaded, Dataset):
        if source.split is not None and loaded.split is not None and source.split != str(loaded.split):
            raise DataError(
                f"{path} holds the split `{loaded.split}`, not `{source.split}`; change the source's `split`."
            )
        return _rows_of_dataset(str(path), loaded)
    if source.split not in loaded:
        asked = f"no split `{source.split}`" if source.split else "several splits"
        raise DataError(f"{path} has {asked}; set the source's `split` to one of {', '.join(loaded)}.")
    return _rows_of_dataset(f"{path}[{source.split}]", loaded[source.split])


def _read_hub(source: SourceConfig, local: Path) -> Iterator[RawRow]:
    """A dataset of the Hugging Face hub (or its local cache); no remote code is run."""
    import httpx
    from datasets import get_dataset_split_names, load_dataset

    name = str(source.path)
    try:
        if source.split is None:
            splits = get_dataset_split_names(name)
            raise DataError(
                f"The dataset {name} has several splits; set the source's `split` to one of {', '.join(splits)}."
            )
        loaded = load_dataset(name, split=source.split)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise DataError(
            f"{name} is neither a file or folder here ({local} does not exist) nor a dataset that can be reached "
            f"({_first_line(error)}); check `path` and `data.root`, or connect to the hub once to fill its cache."
        ) from error
    return _rows_of_dataset(f"{name}[{source.split}]", loaded)


def _rows_of_dataset(file: str, dataset: Any) -> Iterator[RawRow]:
    line = 0
    for table in dataset.with_format("arrow").iter(batch_size=_BATCH_ROWS):
        for index in range(table.num_rows):
            line += 1
            yield _row_of_batch(file, line, table, index)


def _what_is_there(path: Path) -> str:
    """The names beside a file that does not exist, or the first folder above it that does not exist either."""
    if path.parent.is_dir():
        found = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
        return f"; that folder has {', '.join(found[:8])}{', ...' if len(found) > 8 else ''}" if found else ""
    missing = path.parent
    while not missing.parent.is_dir():
        missing = missing.parent
    return f"; there is no folder {missing}"


def _first_line(error: BaseException) -> str:
    """The first sentence of a library's message."""
    text = str(error).strip()
    return (text.splitlines()[0].partition(". ")[0] if text else type(error).__name__).rstrip(".")
