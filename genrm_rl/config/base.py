"""The strict base of every configuration section, and units in field descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Frozen and strict: an unknown key is an error, a value is never changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def setting(default: Any, description: str, *, unit: str = "", free: bool = False, **constraints: Any) -> Any:
    """A field with its one default, a one-line description, and its unit (shown by ``--dry-run``).

    ``free`` settings (or whole sections) say where, how fast or with how much memory a run works, not what it computes:
    they are no part of its identity, and a resumed run may change them.
    """
    facts = ({"unit": unit} if unit else {}) | ({"free": True} if free else {})
    extra = {"json_schema_extra": facts} if facts else {}
    if callable(default) and not isinstance(default, type):
        return Field(default_factory=default, description=description, **extra, **constraints)
    if isinstance(default, type):
        return Field(default_factory=default, description=description, **extra, **constraints)
    return Field(default, description=description, **extra, **constraints)


def free_settings(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted names of the free settings and free sections of a section, nested ones included."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("free"):
            yield prefix + name
        elif isinstance(inner, type) and issubclass(inner, Section):
            yield from free_settings(inner, f"{prefix}{name}.")


def identity(config: Section) -> dict[str, Any]:
    """What decides the results: the settings as plain values, without the free ones."""
    values = config.model_dump(mode="json")
    for dotted in free_settings(type(config)):
        *parents, leaf = dotted.split(".")
        target = values
        for key in parents:
            target = target[key]
        del target[leaf]
    return values
