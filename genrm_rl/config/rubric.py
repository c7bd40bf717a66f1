"""Criteria that answers are judged by: named, in words, with choices from worst to best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, model_validator

from genrm_rl.config.base import Section, setting


class Criterion(Section):
    """One criterion: ``{name: tone, description: "Is it kind?", choices: [rude, neutral, kind]}``.

    Choices are ordered from worst to best instead of carrying numbers: their order is all that a judge is told.
    """

    name: str = setting("", "what rationales may call it")
    description: str = Field(description="what it asks of an answer, in words")
    choices: tuple[str, ...] = setting((), "what an answer may come to, from worst to best; none: in the judge's words")

    @model_validator(mode="after")
    def _sensible(self) -> Criterion:
        if not self.description.strip():
            raise ValueError("a criterion without a description asks nothing; say what it asks of an answer")
        if len(self.choices) == 1:
            raise ValueError("a criterion with one choice decides nothing; give two or more, from worst to best")
        if any(not choice.strip() for choice in self.choices) or len(set(self.choices)) < len(self.choices):
            raise ValueError("choices must be different words, from worst to best")
        return self


Rubric = tuple[Criterion, ...]


def read_rubric(value: Any) -> Rubric:
    """A rubric as people write it: a text (one criterion), or a list of texts and of objects with the keys of
    :class:`Criterion`. None is no rubric. Raises ValueError with the reason."""
    if value is None:
        return ()
    if isinstance(value, str | Criterion) or not isinstance(value, Sequence):
        value = (value,)
    return tuple(_criterion(entry, f"criterion {number}") for number, entry in enumerate(value, start=1))


def _criterion(entry: Any, name: str) -> Criterion:
    if isinstance(entry, Criterion):
        return entry
    if isinstance(entry, str):
        entry = {"description": entry}
    if not isinstance(entry, Mapping):
        raise ValueError(f"{name} is {type(entry).__name__}; write a text, or an object with a description")
    # Columnar files (Parquet) fill in the keys that other rows have.
    given = {key: value for key, value in entry.items() if value is not None}
    try:
        return Criterion.model_validate(given)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}{place and f', {place}'}: {reason[:1].lower()}{reason[1:]}") from None
