"""What a policy is shown and how it answers: the texts of a turn and their exact grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from genrm_rl.config.agents import ActingConfig
from genrm_rl.environments.protocol import Admissible, Observation, clean_action

# What an environment gets for a turn that does not follow the grammar: no action of any, and each says so.
UNREADABLE = "(no action)"
ACTION = re.compile(r"Action: (?P<action>\S[^\n]*)")
REACT = re.compile(r"Thought: (?P<thought>\S[^\n]*(?:\n(?!Action: )[^\n]*)*)\nAction: (?P<action>\S[^\n]*)")
GRAMMARS = {"action": ACTION, "react": REACT}
FORMS = {"action": "Action: ...", "react": "Thought: ...\nAction: ..."}


@dataclass(frozen=True, slots=True)
class ParsedTurn:
    """What a turn said."""

    action: str
    thought: str = ""


def parse_turn(text: str, style: Literal["action", "react"]) -> ParsedTurn | None:
    """The turn in ``text``, or None if it does not follow the grammar exactly (format faithfulness, after ReFF, arXiv
    2412.09173: a decidable check). Blanks at the end say nothing."""
    found = GRAMMARS[style].fullmatch(text.rstrip())
    if found is None or not clean_action(found["action"]):
        return None
    return ParsedTurn(clean_action(found["action"]), found.groupdict().get("thought") or "")


def written_turn(turn: ParsedTurn, style: Literal["action", "react"]) -> str:
    """The text that :func:`parse_turn` reads."""
    return f"Thought: {turn.thought}\nAction: {turn.action}" if style == "react" else f"Action: {turn.action}"


def first_message(observation: Observation, acting: ActingConfig) -> str:
    """The user's first turn: the task, how to answer, and what is seen."""
    return f"{observation.goal}\nAnswer with {FORMS[acting.style]}\n\n{shown(observation, acting)}"


def shown(observation: Observation, acting: ActingConfig) -> str:
    """An observation, cut at ``max_observation``, with the admissible actions if they are to be shown."""
    text = observation.text
    if len(text) > acting.max_observation:
        text = f"{text[: acting.max_observation]} [cut]"
    if not acting.show_actions or observation.admissible is None:
        return text
    return f"{text}\nActions: {listed(observation.admissible, acting.show_actions)}"


def listed(admissible: Admissible, most: int) -> str:
    """At most so many admissible actions, frames first."""
    frames = [f"{before}...{behind}" for before, behind in admissible.frames]
    return "; ".join([*frames, *admissible.actions][:most])
