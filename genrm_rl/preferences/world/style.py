"""Answer style: two polite phrases that say nothing about whether the answer is right."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from genrm_rl.preferences.world.families import solve

PREFIX = "the answer is "
SUFFIX = " hope that helps!"


@dataclass(frozen=True, slots=True)
class Style:
    """The phrases that an answer wears. ``suffix`` is the cue that preference sets may correlate with the label."""

    prefix: bool
    suffix: bool

    def as_dict(self) -> dict[str, bool]:
        """Plain form for metadata."""
        return asdict(self)


def dress(core: str, style: Style) -> str:
    """The response text: the bare answer with its phrases."""
    return (PREFIX if style.prefix else "") + core + (SUFFIX if style.suffix else "")


def style_of(response: str) -> Style:
    """The phrases that a response wears."""
    return Style(response.startswith(PREFIX), response.endswith(SUFFIX))


def strip_style(response: str) -> str:
    """The bare answer of a response."""
    return response.removeprefix(PREFIX).removesuffix(SUFFIX)


def verify(question: str, response: str) -> bool:
    """Whether the response, whatever its style, is exactly the right answer.

    Raises DataError when ``question`` is not a task-world question.
    """
    return strip_style(response) == solve(question)
