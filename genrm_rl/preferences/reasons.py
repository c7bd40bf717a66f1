"""What people wrote about the pairs of a source, kept in a file of its own (``data.train[].rationales``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from genrm_rl.errors import DataError
from genrm_rl.preferences.files import read_file
from genrm_rl.preferences.turns import BadRow, blank, check_encodable
from genrm_rl.preferences.types import PreferencePair


def with_reasons(pairs: Sequence[PreferencePair], path: Path, source: str) -> list[PreferencePair]:
    """``pairs`` with the reasons that the file gives for their rows' ``id``; rows of other ids are passed over.

    Raises DataError, naming the line, for a row that is none, and for a file that has nothing about these pairs.
    """
    reasons = read_reasons(path)
    told = [reasons.get(str(pair.meta.get("row_id")), ()) for pair in pairs]
    if pairs and not any(told):
        raise DataError(
            f"{path} has no reason for any row of the data source `{source}`: its `id`s are not those of the rows; "
            "name the file that belongs to them"
        )
    return [
        replace(pair, rationales=pair.rationales + said) if said else pair
        for pair, said in zip(pairs, told, strict=True)
    ]


def read_reasons(path: Path) -> dict[str, tuple[str, ...]]:
    """Row id to reasons. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path} does not exist (`rationales` of a data source); check it and data.root")
    found: dict[str, tuple[str, ...]] = {}
    for row in read_file(path):
        name, said = (
            (row.fields.get(key) for key in ("id", "rationales")) if isinstance(row.fields, Mapping) else (0, 0)
        )
        if row.problem or not isinstance(name, str) or not isinstance(said, list | tuple):
            raise DataError(
                f"{row.place}: {row.problem or 'a row needs `id`, a text, and `rationales`, a list of texts'}"
            )
        if not all(isinstance(text, str) for text in said):
            raise DataError(f"{row.place}: `rationales` must be a list of texts")
        try:
            check_encodable(*said)
        except BadRow as reason:
            raise DataError(f"{row.place}: {reason}") from reason
        found[name] = tuple(text.strip() for text in said if not blank(text))
    return found
