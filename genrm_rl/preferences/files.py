"""One file to rows, each with its file and line. What is wrong with a row is told, not raised.

A fault of the whole file (absent, cut off, another format) always raises DataError: the number of rows behind it is
unknown, so there is nothing to skip.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from genrm_rl.errors import DataError
from genrm_rl.preferences.turns import BadRow
from genrm_rl.preferences.validation import RawRow

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
BATCH_ROWS = 256  # rows of an Arrow batch: of 40 KB each, 10 MB are in memory


def read_file(path: Path) -> Iterator[RawRow]:
    """Rows of a file, by its name. Raises DataError when it can't be read."""
    if path.name.endswith(".parquet"):
        return read_parquet(path)
    if path.name.endswith(SUFFIXES):
        return read_json(path)
    raise DataError(
        f"{path} is neither JSON (an object a line, or one array; also .gz) nor Parquet by its name; rename it to what "
        "it is, or save it as one of them"
    )


def read_json(path: Path) -> Iterator[RawRow]:
    """Rows of a JSONL file or of one JSON array, gzipped if the name ends in ``.gz``. Blank lines are no rows."""
    line = 0
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb") as handle:
            try:
                shape = _shape(handle)
                handle.seek(0)
                if shape == "array":
                    yield from _read_array(path, handle.read())
                    return
                if shape == "broken" and not path.name.removesuffix(".gz").endswith(".jsonl"):
                    _refuse_one_object(path, handle.read())
                    handle.seek(0)
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


def _shape(handle: Any) -> Literal["array", "lines", "broken"]:
    """One JSON array (it starts with a bracket, and its first line is no row by itself), or a row on each line;
    ``broken`` if the first line is no JSON."""
    for payload in handle:
        text = payload.removeprefix(b"\xef\xbb\xbf").strip()
        if not text:
            continue
        try:
            first = json.loads(text)
        except (ValueError, RecursionError):
            return "array" if text.startswith(b"[") else "broken"
        alone = not any(rest.strip() for rest in handle)
        return "array" if isinstance(first, list) and alone else "lines"
    return "lines"


def _refuse_one_object(path: Path, payload: bytes) -> None:
    """Raise DataError if the whole file is one object, which may be anything but rows."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        keys = ", ".join(f"`{key}`" for key in list(value)[:4])
        raise DataError(f"{path} is one JSON object (with {keys}), not rows; save its rows as an array, or one a line")


def _read_array(path: Path, payload: bytes) -> Iterator[RawRow]:
    """Elements of one array, one in memory at a time beside the text. ``file[7]:120`` is its 7th, on line 120."""
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start + 1}); save it as UTF-8") from error
    decoder = json.JSONDecoder()
    position, line, index = _skip(text, text.index("[") + 1), 1, 0
    counted = 0
    while position < len(text) and text[position] != "]":
        index += 1
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            detail = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            at = error.lineno if isinstance(error, json.JSONDecodeError) else line
            raise DataError(
                f"{path} is a JSON array that breaks off or is broken in element {index}, line {at} ({detail}); mend it"
            ) from error
        yield RawRow(f"{path}[{index}]", line, fields=value)
        position = _skip(text, end)
        if text[position : position + 1] not in (",", "]"):
            raise DataError(f"{path} is a JSON array that breaks off after element {index}, line {line}; mend it")
        if text[position] == ",":
            position = _skip(text, position + 1)
    if position >= len(text):
        raise DataError(f"{path} is a JSON array that breaks off after element {index}, line {line}; mend it")


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


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
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield from rows_of_batch(str(path), line, batch)
                line += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a readable Parquet file ({first_line(error)}); write or download it again"
        ) from error


def rows_of_batch(file: str, before: int, batch: Any) -> Iterator[RawRow]:
    """Rows of an Arrow batch or table, after ``before`` others."""
    columns = {name: batch.column(index) for index, name in enumerate(batch.schema.names)}
    for index in range(batch.num_rows):
        yield RawRow(file, before + index + 1, fields=ArrowRow(columns, index))


class ArrowRow(Mapping[str, Any]):
    """A row of an Arrow batch whose columns become Python values when they are asked for, and never otherwise.

    Raises BadRow for a value that Python can't hold, such as text that is not UTF-8 or a date after the year 9999.
    """

    __slots__ = ("_columns", "_index")

    def __init__(self, columns: Mapping[str, Any], index: int) -> None:
        self._columns, self._index = columns, index

    def __getitem__(self, name: str) -> Any:
        import pyarrow

        cell = self._columns[name][self._index]
        try:
            return cell.as_py()
        except UnicodeDecodeError as error:
            raise BadRow("unreadable", f"`{name}` is not UTF-8 (byte {error.start + 1})") from error
        except (OverflowError, ValueError, pyarrow.ArrowException) as error:
            raise BadRow("unreadable", f"`{name}` can't be read ({first_line(error)})") from error

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def first_line(error: BaseException) -> str:
    """The first sentence of a library's message."""
    text = str(error).strip()
    return (text.splitlines()[0].partition(". ")[0] if text else type(error).__name__).rstrip(".")
