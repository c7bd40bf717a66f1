"""Files, folders and datasets to rows: what a source's ``path`` names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genrm_rl.config.data import SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.files import BATCH_ROWS, SUFFIXES, first_line, read_file, rows_of_batch
from genrm_rl.preferences.folders import files_of
from genrm_rl.preferences.validation import RawRow

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_GLOB = re.compile(r"[*?\[]")


def read_rows(source: SourceConfig, root: Path) -> Iterator[RawRow]:
    """Rows of a source with a ``path``. Raises DataError, naming file and way out, when it can't be read at all."""
    name, folder = str(source.path), Path(root).expanduser()
    path = folder / name
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            return _read_saved(path, source)
        return _read_files(files_of(path, source.split, source.config_name))
    if path.is_file():
        return read_file(path)
    if _GLOB.search(name):
        found = sorted(Path("/").glob(str(path.absolute())[1:]))
        if not any(file.is_file() for file in found):
            raise DataError(f"{path} matches no file (data source `{source.label}`); check its `path` and `data.root`")
        return _read_files([file for file in found if file.is_file()])
    if name.endswith(SUFFIXES) or not _HUB_ID.match(name):
        raise DataError(
            f"{path} does not exist (data source `{source.label}`{_what_is_there(path)}); "
            "check its `path` and `data.root`"
        )
    return _read_hub(source, path)


def _read_files(paths: list[Path]) -> Iterator[RawRow]:
    return itertools.chain.from_iterable(read_file(path) for path in paths)


def _read_saved(path: Path, source: SourceConfig) -> Iterator[RawRow]:
    import pyarrow
    from datasets import Dataset, load_from_disk

    try:
        loaded = load_from_disk(str(path))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable saved dataset: {first_line(error)}.") from error
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
            splits = get_dataset_split_names(name, source.config_name)
            raise DataError(
                f"The dataset {name} has several splits; set the source's `split` to one of {', '.join(splits)}."
            )
        loaded = load_dataset(name, source.config_name, split=source.split)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        raise DataError(
            f"{name} is neither a file or folder here ({local} does not exist) nor a dataset that can be reached "
            f"({first_line(error)}); check `path` and `data.root`, or connect to the hub once to fill its cache."
        ) from error
    return _rows_of_dataset(f"{name}[{source.split}]", loaded)


def _rows_of_dataset(file: str, dataset: Any) -> Iterator[RawRow]:
    line = 0
    for table in dataset.with_format("arrow").iter(batch_size=BATCH_ROWS):
        yield from rows_of_batch(file, line, table)
        line += table.num_rows


def _what_is_there(path: Path) -> str:
    """The names beside a file that does not exist, or the first folder above it that does not exist either."""
    if path.parent.is_dir():
        found = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
        return f"; that folder has {', '.join(found[:8])}{', ...' if len(found) > 8 else ''}" if found else ""
    missing = path.parent
    while not missing.parent.is_dir():
        missing = missing.parent
    return f"; there is no folder {missing}"
