"""The strict base of every configuration section, and units in field descriptions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Frozen and strict: an unknown key is an error, a value is never changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def setting(default: Any, description: str, *, unit: str = "", **constraints: Any) -> Any:
    """A field with its one default, a one-line description, and its unit (shown by ``--dry-run``)."""
    extra = {"json_schema_extra": {"unit": unit}} if unit else {}
    if callable(default) and not isinstance(default, type):
        return Field(default_factory=default, description=description, **extra, **constraints)
    if isinstance(default, type):
        return Field(default_factory=default, description=description, **extra, **constraints)
    return Field(default, description=description, **extra, **constraints)
