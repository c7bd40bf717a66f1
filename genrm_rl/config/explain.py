"""What is wrong with a configuration, in one sentence that names the key and its line."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from genrm_rl.errors import ConfigError

KeyPath = tuple[str | int, ...]


def check_known(model: type[BaseModel], keys: KeyPath, *, where: str) -> None:
    """Raise ConfigError, with the nearest key that there is, for a path that ``model`` does not have."""
    current: type[BaseModel] | None = model
    for depth, key in enumerate(keys):
        if isinstance(key, int):
            continue
        if current is None:
            raise ConfigError(f"{where}: {dotted(keys[:depth])} is a single value and has no key {key!r}")
        if key not in current.model_fields:
            parent = dotted(keys[:depth])
            full = dotted((*keys[:depth], str(key)))
            near = difflib.get_close_matches(str(key), list(current.model_fields), n=1, cutoff=0.5) or _elsewhere(
                model, str(key)
            )
            hint = (
                f"did you mean {dotted((*keys[:depth], near[0])) if '.' not in near[0] else near[0]}?"
                if near
                else (f"known keys{' of ' + parent if parent else ''}: {', '.join(current.model_fields)}")
            )
            raise ConfigError(f"{where}: unknown key {full}; {hint}")
        annotation = current.model_fields[key].annotation
        if any(typing.get_origin(kind) is dict for kind in (annotation, *typing.get_args(annotation))):
            return  # its keys are the user's
        current = _section_of(annotation)


def check_shapes(
    model: type[BaseModel], values: dict[str, Any], where: str, places: dict[KeyPath, str], prefix: KeyPath = ()
) -> None:
    """A section must hold keys, and a list of sections entries with keys; everything else is checked by pydantic."""
    for key, value in values.items():
        field = model.model_fields.get(key)
        section = None if field is None or value is None else _section_of(field.annotation)
        if section is None:
            continue
        here = (*prefix, key)
        entries: list[tuple[KeyPath, Any]] = [(here, value)]
        if typing.get_origin(field.annotation) is tuple:
            if not isinstance(value, list):
                raise ConfigError(
                    f"{place_of(where, here, places)}: {dotted(here)} is a list and can't be {value!r}; "
                    "write one line `- {...}` for each entry"
                )
            entries = [((*here, index), entry) for index, entry in enumerate(value)]
        for keys, entry in entries:
            if not isinstance(entry, dict):
                example = dotted((*keys, next(iter(section.model_fields))))
                raise ConfigError(
                    f"{place_of(where, keys, places)}: {dotted(keys)} is a section and can't be {entry!r}; "
                    f"set its keys, e.g. {example}"
                )
            check_shapes(section, entry, where, places, keys)


def _elsewhere(model: type[BaseModel], key: str, prefix: str = "") -> list[str]:
    """Dotted paths at which a key of this very name exists, for somebody who forgot the section."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner = _section_of(field.annotation)
        if name == key and prefix:
            found.append(prefix + name)
        if inner is not None and typing.get_origin(field.annotation) is not tuple:
            found += _elsewhere(inner, key, f"{prefix}{name}.")
    return found


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        for inner in typing.get_args(annotation):
            section = _section_of(inner)
            if section is not None:
                return section
    return None


def explain(problem: ValidationError, where: str, places: dict[KeyPath, str]) -> str:
    """The first problem that pydantic found, and how many more there are."""
    first, *others = problem.errors(include_url=False)
    keys = tuple(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    shown = (
        ""
        if first["type"] == "value_error" or isinstance(first["input"], dict | BaseModel)
        else f", not {first['input']!r}"
    )
    more = f" (and {len(others)} more)" if others else ""
    name = f"{dotted(keys)}: " if keys else ""
    return f"{place_of(where, keys, places)}: {name}{message[:1].lower() + message[1:]}{shown}{more}"


def place_of(where: str, keys: KeyPath, places: dict[KeyPath, str]) -> str:
    """Where the nearest enclosing key was written."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in places:
            return places[keys[:length]]
    return where


def dotted(keys: Sequence[str | int]) -> str:
    """A path as people write it."""
    return ".".join(map(str, keys))
