"""What a judge may be told beside the question and the answers: criteria, and what is known to be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genrm_rl.config.rubric import Rubric, read_rubric


@dataclass(frozen=True, slots=True)
class Guide:
    """``rubric``: criteria of this question (none: those of the run, ``judge.rubric``). ``known_answer``: a right
    answer, or how to check one, which judges see with ``judge.show_reference``. An empty guide is false."""

    rubric: Rubric = ()
    known_answer: str | None = None

    def __bool__(self) -> bool:
        return bool(self.rubric) or self.known_answer is not None

    def plain(self) -> dict[str, Any]:
        """As JSON takes it, for hashes, files and calls; without what is not there."""
        found: dict[str, Any] = {}
        if self.rubric:
            found["rubric"] = [criterion.model_dump(mode="json") for criterion in self.rubric]
        if self.known_answer is not None:
            found["known_answer"] = self.known_answer
        return found

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Guide:
        """The inverse of :meth:`plain`; other keys are not looked at. Raises ValueError for what is no rubric."""
        return cls(read_rubric(fields.get("rubric")), fields.get("known_answer"))


NO_GUIDE = Guide()


def guide_texts(guide: Guide) -> list[str]:
    """Every text in a guide, for limits of length."""
    said = [text for each in guide.rubric for text in (each.name, each.description, *each.choices)]
    return said if guide.known_answer is None else [*said, guide.known_answer]
