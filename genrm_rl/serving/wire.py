"""Words that all wire contracts share: texts, turns, what a judge is told and how it is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi.exceptions import ValidationException
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from genrm_rl.config.rubric import Rubric, read_rubric
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.turns import TEXT_PARTS
from genrm_rl.preferences.types import Role

JsonT = TypeVar("JsonT")


def encodable(text: str) -> str:
    """``text`` itself. Raises ValueError for half a surrogate pair, which JSON can spell and UTF-8 can't."""
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise ValueError(f"it has half a surrogate pair at character {problem.start}") from None
    return text


def encodable_json(value: JsonT) -> JsonT:
    """``value`` itself. Raises ValueError if any text in it can't be written as UTF-8."""
    encodable(json.dumps(value, ensure_ascii=False))
    return value


Text = Annotated[str, AfterValidator(encodable)]


class Wire(BaseModel):
    """Unknown keys are errors: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def joined_parts(content: Any) -> Any:
    """A list of text parts as one text. Raises ValueError for parts of another type; other values are left alone."""
    if not isinstance(content, list):
        return content
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise ValueError(f"part {number} is {kind}; the judge reads parts of type text only")
    return "".join(part["text"] for part in content)


def _known_role(role: Any) -> Any:
    return "system" if role == "developer" else role


class Turn(Wire):
    """One turn of the conversation that is answered."""

    role: Annotated[Role, BeforeValidator(_known_role)] = Field(description="a developer's turn is a system turn")
    content: Annotated[Text, BeforeValidator(joined_parts)] = Field(description="a text, or text parts, to be joined")


Prompt = Annotated[Text | list[Turn], Field(description="a question, or the turns up to the answer")]


def _encodable_rubric(rubric: Rubric) -> Rubric:
    encodable_json(Guide(rubric).plain())
    return rubric


class Guided(Wire):
    """What the judge is told beside the prompt."""

    rubric: Annotated[Rubric, BeforeValidator(read_rubric), AfterValidator(_encodable_rubric)] = Field(
        (), description="criteria instead of the judge's own: a text, or a list of texts or of criteria"
    )
    known_answer: Text | None = Field(
        None, description="a right answer, or how to check one; for a judge that is served with judge.show_reference"
    )

    @property
    def guide(self) -> Guide:
        """As comparisons carry it."""
        return Guide(self.rubric, self.known_answer)


class Ask(Wire):
    """How the judge is asked; the same in every contract."""

    votes: int = Field(1, ge=1, description="sampled judgments per order; the most, with stop_error")
    stop_error: float | None = Field(
        None,
        ge=0,
        lt=0.5,
        description="stop asking for votes when the verdict of all of them is known up to this error rate",
    )
    greedy: bool = Field(False, description="one judgment per order at temperature 0 instead of samples")
    deadline_seconds: float | None = Field(None, gt=0, description="return what is judged by then")
    rationales: bool = Field(False, description="return the judge's texts too")
    judge_version: str | None = Field(None, description="answer with 409 if another version is served")


def one_sentence(problem: ValidationException) -> str:
    """The first thing that is wrong with a request, and its place in the body."""
    errors = problem.errors()
    if errors[0]["type"] == "json_invalid":
        return f"the body is not JSON: {errors[0]['ctx']['error']}"
    # Where a field takes alternatives, each of them reports: the one that came furthest is meant.
    field = _place(errors[0])[:1]
    first = max((each for each in errors if _place(each)[:1] == field), key=lambda each: len(each["loc"]))
    sentence = f"{'.'.join(_place(first)) or 'the body'}: {first['msg'].removeprefix('Value error, ')}"
    return sentence.encode(errors="replace").decode()


def _place(error: Mapping[str, Any]) -> list[str]:
    """Keys and indices that the caller wrote; pydantic names alternatives on the way (``list[Turn]``)."""
    return [str(part) for part in error["loc"][1:] if isinstance(part, int) or "[" not in part]
