"""What a person wrote as a reason, without the sides on which the answers were shown (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genrm_rl.labelling.types import Label

_NAMED = re.compile(r"(\[(?=[AB]\])|\b(?i:answer|response|side)\s+)([AB])\b(\]?)")
_BARE = re.compile(r"\b[AB]\b")
_OTHER = {"A": "B", "B": "A"}


def told(label: Label, winner: str) -> str | None:
    """The reason with ``[chosen]`` and ``[rejected]`` for the sides that it names (``[A]``, "answer A"), as pairs keep
    it (docs/data.md). None if there is none, or if it says a bare A or B, which may be a side or an article: in the
    other order it would say the opposite."""
    winning_side = "A" if (winner == "a") != label.swapped else "B"
    text = _NAMED.sub(lambda found: "[chosen]" if found[2] == winning_side else "[rejected]", label.reason).strip()
    return text if text and not _BARE.search(text) else None


def reasons_for(labels: Sequence[Label], winner: str) -> list[str]:
    """The reasons of those who chose the winner."""
    return [said for label in labels if label.choice == winner and (said := told(label, winner)) is not None]


def as_of_file(label: Label) -> str:
    """The reason for readers to whom answer a is A, whichever side it was on when the reason was written."""
    if not label.swapped:
        return label.reason
    note = "(A and B were exchanged) " if _BARE.search(_NAMED.sub("", label.reason)) else ""
    return note + _NAMED.sub(lambda found: f"{found[1]}{_OTHER[found[2]]}{found[3]}", label.reason)
