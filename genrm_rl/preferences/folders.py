"""Which files of a folder are a split: of shards, or downloaded from the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from genrm_rl.errors import DataError
from genrm_rl.preferences.files import SUFFIXES

_SPLITS = ("train", "test", "validation", "valid", "val", "dev", "eval", "evaluation")


def files_of(folder: Path, split: str | None, config_name: str | None) -> list[Path]:
    """The data files of a split, in the order of their names.

    What the ``configs`` of the folder's README say counts; else a file belongs to the split that its name or its
    folder's name has as a word (``train.jsonl``, ``data/train-00000-of-00002.parquet``). Raises DataError, which lists
    what is there.
    """
    declared = _declared(folder, config_name)
    if declared:
        if split is None and len(declared) == 1:
            split = next(iter(declared))
        if split not in declared:
            asked = f"no split `{split}`" if split else "several splits"
            raise DataError(f"{folder} has {asked}; set the source's `split` to one of {', '.join(declared)}")
        return declared[split]
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name.endswith(SUFFIXES))
    found = [path for path in found if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)]
    names = {path: str(path.relative_to(folder)) for path in found}
    if split is not None:
        chosen = [path for path in found if split in (_stem(path), path.parent.name)]
        chosen = chosen or [path for path in found if _has_word(names[path], split)]
    else:
        splits = [word for word in _SPLITS if any(_has_word(name, word) for name in names.values())]
        if len(splits) > 1:
            raise DataError(f"{folder} has several splits; set the source's `split` to one of {', '.join(splits)}")
        kinds = {path.name.removesuffix(".gz").rpartition(".")[2] for path in found}
        unsure = splits and not all(_has_word(name, splits[0]) for name in names.values())
        chosen = [] if unsure or len(kinds) > 1 else found
    if not chosen:
        entries = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        listed = ", ".join(entries[:8]) + (", ..." if len(entries) > 8 else "")
        raise DataError(
            f"{folder} is a folder without {f'files of the split {split!r}' if split else 'data files of one kind'} "
            f"(found {listed or 'nothing'}); give a file or a glob, or a folder with its `split`"
        )
    return chosen


def splits_of(folder: Path, config_name: str | None = None) -> list[str]:
    """The splits of a folder that has several, else nothing. Raises DataError as :func:`files_of`."""
    saved = folder / "dataset_dict.json"
    if saved.is_file():
        return [str(name) for name in json.loads(saved.read_text(encoding="utf-8")).get("splits", ())]
    if (folder / "state.json").is_file():
        return []
    declared = _declared(folder, config_name)
    if declared:
        return list(declared)
    found = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(SUFFIXES)]
    splits = [word for word in _SPLITS if any(_has_word(name, word) for name in found)]
    return splits if len(splits) > 1 else []


def _stem(path: Path) -> str:
    """The name without its suffix and its shard's number."""
    name = next(path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix))
    return re.sub(r"[-_]\d+(-of-\d+)?$", "", name)


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(^|[^A-Za-z0-9]){re.escape(word)}([^A-Za-z0-9]|$)", name) is not None


def _declared(folder: Path, config_name: str | None) -> dict[str, list[Path]]:
    """Files by split, as the front matter of a hub data set's README names them; empty without one."""
    readme = folder / "README.md"
    text = readme.read_text("utf-8", "replace") if readme.is_file() else ""
    front = re.match(r"---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    if not front:
        return {}
    try:
        data = yaml.safe_load(front[1])
    except yaml.YAMLError:
        return {}  # the card is for people; the files say what there is
    configs = data.get("configs") if isinstance(data, dict) else None
    named = {str(one["config_name"]): one for one in configs or [] if isinstance(one, dict) and "config_name" in one}
    if not named:
        return {}
    default = next((name for name, one in named.items() if one.get("default") or len(named) == 1), "default")
    wanted = config_name or default
    if wanted not in named:
        raise DataError(f"{folder} has the configurations {', '.join(named)}; set the source's `config_name` to one")
    entries = named[wanted].get("data_files") or []
    if isinstance(entries, str):
        entries = [{"split": "train", "path": entries}]
    found: dict[str, list[Path]] = {}
    for entry in entries:
        patterns = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
        files = sorted({path for pattern in patterns for path in folder.glob(str(pattern)) if path.is_file()})
        if files:  # not all of a hub folder is always downloaded
            found[str(entry["split"])] = files
    return found
