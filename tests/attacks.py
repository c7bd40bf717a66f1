"""The corpus of attacks on a judge: texts that try to instruct it, or to imitate its verdict, template or tokens.

``attacks.json`` has them with every character beyond ASCII escaped, so that tricks can be seen in a diff.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attack:
    """One text; ``kind`` is what it tries: instruction, verdict, template, control, unicode, markup, empty or huge."""

    kind: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def load_attacks() -> tuple[Attack, ...]:
    """All of them."""
    rows = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="ascii"))
    return tuple(Attack(row["kind"], row["name"], row["text"] * row.get("repeat", 1)) for row in rows)


ATTACKS = load_attacks()
