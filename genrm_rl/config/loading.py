"""From a YAML file and dotted overrides to a validated configuration, with errors that name the key and its line.

Our own because pydantic-settings and jsonargparse can't set ``data.test.0.limit``, tyro wants a file that is valid
before the overrides, and none of them names a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from genrm_rl.config.base import Section
from genrm_rl.config.explain import KeyPath, check_known, check_shapes, dotted, explain, place_of
from genrm_rl.errors import ConfigError

SectionT = TypeVar("SectionT", bound=Section)


class _Loader(yaml.SafeLoader):
    """Safe YAML without timestamps: no setting is a date, and a run may be called 2026-11-23."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_config(
    model: type[SectionT], path: str | Path | Sequence[str | Path] | None, overrides: Sequence[str] = ()
) -> SectionT:
    """Read ``path`` (None: defaults only; several files: each over the ones before), apply dotted ``overrides``,
    validate.

    ``overrides`` are command-line words: ``--run.seed 3``, ``--run.seed=3``, ``--data.on-bad-row skip``; values are
    YAML. A relative ``data.root`` in a file is left as it is: it is relative to the working directory.
    Raises ConfigError with one sentence for a missing file, bad YAML, an unknown key (with the nearest one) or a bad
    value.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(file) for file in path or ()]
    where = ", ".join(map(str, paths)) or "defaults"
    values, places = _read_files(paths)
    for keys in _walk(values):
        check_known(model, keys, where=place_of(where, keys, places))
    check_shapes(model, values, where, places)
    for keys, value in parse_overrides(overrides):
        check_known(model, keys, where="command line")
        _assign(values, keys, value)
        places = {place: where for place, where in places.items() if place[: len(keys)] != keys}
        places[keys] = "command line"
        for inner in _walk(value, keys):
            check_known(model, inner, where="command line")
    check_shapes(model, values, where, places)
    try:
        return model.model_validate(_over_defaults(model().model_dump(), values))
    except ValidationError as problem:
        raise ConfigError(explain(problem, where, places)) from None


def _read_files(paths: Sequence[Path]) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """The files' values, later over earlier ones section by section (a list is replaced), and where each is set."""
    values: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    for path in paths:
        found, lines = _read_yaml(path)
        values = _over_defaults(values, found)
        places = {key: line for key, line in places.items() if not _replaced(key, lines)} | lines
    return values, places


def _replaced(key: KeyPath, lines: Mapping[KeyPath, str]) -> bool:
    """True if a later file set this very key, or replaced the list in which it is."""
    return any(
        key[: len(other)] == other and (len(other) == len(key) or isinstance(key[len(other)], int)) for other in lines
    )


def _over_defaults(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """``values`` over ``defaults``, section by section, so that setting one key of a section keeps its other
    defaults."""
    merged = dict(defaults)
    for key, value in values.items():
        if isinstance(defaults.get(key), dict) and value is None:
            continue  # a section with nothing below it
        both = isinstance(value, dict) and isinstance(defaults.get(key), dict)
        merged[key] = _over_defaults(defaults[key], value) if both else value
    return merged


def parse_overrides(words: Sequence[str]) -> list[tuple[KeyPath, Any]]:
    """``--a.b-c 1`` and ``--a.b_c=1`` become ``[(("a", "b_c"), 1)]``; list positions are numbers
    (``--data.test.0.limit 9``)."""
    result: list[tuple[KeyPath, Any]] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise ConfigError(f"{word!r} is not a setting; write --section.key value (see --help)")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not queue:
                raise ConfigError(f"--{name} needs a value, e.g. --{name} 1")
            text = queue.pop(0)
        try:
            value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
        except (yaml.YAMLError, ValueError):  # ValueError: a number of thousands of digits
            value = text
        if isinstance(value, dict) and set(value.values()) == {None} and not text.lstrip().startswith("{"):
            value = text  # `::` is an address, not the key ":" of nothing
        keys = tuple(int(part) if part.isdigit() else part.replace("-", "_") for part in name.split("."))
        result.append((keys, value))
    return result


def describe(config: Section, prefix: str = "", *, beside: Section | None = None) -> list[tuple[str, str, str, str]]:
    """Rows (key, value, unit, description) of every setting, nested sections flattened to dotted keys.

    With ``beside``, a configuration of the same kind, only of settings whose values differ from it; those of a list's
    entries from the defaults of the entry.
    """
    rows: list[tuple[str, str, str, str]] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        other = None if beside is None else getattr(beside, name)
        key = f"{prefix}{name}"
        if isinstance(value, Section):
            rows += describe(value, f"{key}.", beside=other)
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for index, item in enumerate(value):
                plain = None if beside is None else type(item).model_construct()
                rows += describe(item, f"{key}.{index}.", beside=plain)
        elif beside is None or value != other:
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            rows.append((key, shown, str(extra.get("unit", "")), field.description or ""))
    return rows


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    if not path.is_file():
        near = [candidate.name for candidate in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        hint = f"; that folder has {', '.join(sorted(near))}" if near else ""
        raise ConfigError(f"config file {path} {'is a folder' if path.is_dir() else 'does not exist'}{hint}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path} is not UTF-8 text (byte {problem.start}); save it as UTF-8") from None
    except OSError as problem:
        raise ConfigError(f"{path} can't be read: {problem.strerror}") from None
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise ConfigError(
            f"{path}:{line} is not valid YAML: {problem.reason} (character #x{problem.character:04x}); remove it"
        ) from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line} is not valid YAML: {getattr(problem, 'problem', problem)}") from None
    except (RecursionError, ValueError) as problem:
        raise ConfigError(f"{path} is not valid YAML: {str(problem).splitlines()[0]}") from None
    if node is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections such as `run:` and `data:`, not a {type(values).__name__}")
    places: dict[KeyPath, str] = {}
    _collect_places(node, (), places, path)
    return values, places


def _collect_places(node: yaml.Node, prefix: KeyPath, places: dict[KeyPath, str], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*prefix, key.value)
            place = f"{path}:{key.start_mark.line + 1}"
            if here in places:
                raise ConfigError(f"{place} sets {dotted(here)} a second time (first at {places[here]})")
            places[here] = place
            _collect_places(value, here, places, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            places[(*prefix, index)] = f"{path}:{value.start_mark.line + 1}"
            _collect_places(value, (*prefix, index), places, path)


def _assign(values: dict[str, Any], keys: KeyPath, value: Any) -> None:
    target: Any = values
    for depth, key in enumerate(keys):
        if isinstance(target, list) and not isinstance(key, int):
            example = dotted((*keys[:depth], 0, *keys[depth:]))
            raise ConfigError(f"--{dotted(keys)}: {dotted(keys[:depth])} is a list; name an entry, e.g. --{example}")
        found = isinstance(target, dict) or (isinstance(key, int) and isinstance(target, list) and key < len(target))
        target = (target.get(key) if isinstance(target, dict) else target[key]) if found else None
    target = values
    for key, following in zip(keys[:-1], keys[1:], strict=True):
        if isinstance(key, int):
            if not isinstance(target, list) or key >= len(target):
                raise ConfigError(f"--{dotted(keys)}: there is no entry {key}; the config file must list it first")
            target = target[key]
        else:
            if target.get(key) is None:
                target[key] = [] if isinstance(following, int) else {}
            target = target[key]
    last = keys[-1]
    if isinstance(last, int) and (not isinstance(target, list) or last >= len(target)):
        raise ConfigError(f"--{dotted(keys)}: there is no entry {last}; the config file must list it first")
    target[last] = value


def _walk(value: Any, prefix: KeyPath = ()) -> list[KeyPath]:
    found: list[KeyPath] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        here = (*prefix, key)
        found += [here, *_walk(inner, here)]
    return found
