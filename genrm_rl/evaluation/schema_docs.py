"""``docs/report_schema.md`` from the models, so that the description can't lag behind the file."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel

from genrm_rl.evaluation import schema

INTRODUCTION = f"""# `report.json`

Schema version {schema.SCHEMA_VERSION}. Generated from `genrm_rl/evaluation/schema.py` and `schema_rows.py` by
`genrm_rl.evaluation.schema_docs`; a test compares the two. Everything that `report.html` shows is in this file.

- Shares are numbers in 0..1, and so are differences of shares (0.12 is 12 percentage points). Times are seconds.
- `null` means that a quantity does not exist, for example the flip rate of a judge that has no order. NaN never occurs.
- `ci95` is `[low, high]`: a percentile bootstrap over prompts, so that the two orders of one pair, and all pairs of one
  prompt, count as one draw.
- The version is raised when a field is removed or changes its meaning. New optional fields keep it.
- The rows behind the metrics are in the run directory: every judgment is one line of a `judgments.jsonl.gz`, written
  and read by `genrm_rl.evaluation.records`.
"""


def schema_markdown() -> str:
    """The whole document: an introduction and one table per model, the report first."""
    parts = [INTRODUCTION]
    for model in _models(schema.Report, set()):
        summary = " ".join((model.__doc__ or "").split())
        lines = [f"## {model.__name__}", "", summary, "", "| field | type | meaning |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}` | {_type_words(field.annotation)} | {meaning} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _models(model: type[BaseModel], seen: set[type]) -> Iterator[type[BaseModel]]:
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in _inner_models(field.annotation):
            yield from _models(inner, seen)


def _inner_models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _inner_models(argument)


def _type_words(annotation: object) -> str:
    """A type as a JSON reader would say it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type_words(argument) for argument in arguments)
    if origin is typing.Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if annotation == schema.Interval:
        return "[low, high]"
    if origin is tuple:
        return f"list of {_type_words(arguments[0])}"
    if origin is dict:
        return f"object of {_type_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", typing.Any: "any"}
    return names[annotation]  # type: ignore[index]


if __name__ == "__main__":
    print(schema_markdown(), end="")
