"""Conversations as people store them, to turns of system, user and assistant.

What is said in another form is read, and every such reading is counted in ``notes`` by a phrase that reports show; what
can't be said in these three roles and in text is refused by name (:class:`BadRow`).
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from genrm_rl.preferences.types import Message, Role

Notes = Counter[str]

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TOOL_ROLES = ("tool", "function", "ipython")
_SHAREGPT: dict[str, str] = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "chatgpt": "assistant", "bard": "assistant", "bing": "assistant", "model": "assistant", "tool": "tool",
    "observation": "tool", "function_call": "function_call",
}  # fmt: skip
TEXT_PARTS = ("text", "input_text", "output_text")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_HH_ROLES: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols that show nothing


class BadRow(Exception):
    """Why one row can't be used. The loader adds file and line; ``kind`` groups reasons for counting."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def blank(text: str) -> bool:
    """Whether nothing of ``text`` can be seen: blanks, control characters, zero-width characters."""
    return all(char.isspace() or char in _BLANK or unicodedata.category(char) in ("Cf", "Cc") for char in text)


def check_encodable(*texts: str) -> None:
    """Raise BadRow for half a surrogate pair, which no tokenizer, hash or file can take."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise BadRow(
                "unreadable", f"it has half a surrogate pair ({text[error.start]!r}), which is not valid text"
            ) from error


def read_prompt(value: Any, name: str, notes: Notes) -> tuple[Message, ...]:
    """A text, or messages up to the answer, that ends with a user turn. Raises BadRow, which names ``name``."""
    if isinstance(value, str):
        value = _from_json(value, notes) or value
    if isinstance(value, str):
        marks = list(_HH_TURN.finditer(value))
        if (
            marks
            and blank(value[: marks[0].start()])
            and marks[-1][1] == "Assistant"
            and blank(value[marks[-1].end() :])
        ):
            notes["prompts read as Human/Assistant text"] += 1
            turns = _hh_turns(value, marks)[:-1]
        else:
            turns = (Message("user", value),)
    elif isinstance(value, list):
        turns = read_messages(value, name, notes)
    else:
        raise BadRow("wrong_type", f"`{name}` is {kind_of(value)}; it must be a string or a list of messages")
    if not turns:
        raise BadRow("empty", f"the prompt has no turns (`{name}`)")
    check_prompt(turns)
    return turns


def check_prompt(turns: Sequence[Message]) -> None:
    """Raise BadRow for a prompt that nobody could answer."""
    if not turns:
        raise BadRow("empty", "the prompt has no turns")
    if turns[-1].role != "user":
        raise BadRow("bad_turns", f"the prompt must end with a user turn, not with one of {turns[-1].role}")
    if blank(turns[-1].content):
        raise BadRow("empty", "the prompt is empty")
    check_encodable(*(turn.content for turn in turns))


def read_answer(value: Any, name: str, notes: Notes) -> str:
    """A text, or a conversation of one assistant turn."""
    if isinstance(value, Mapping) and ("content" in value or "value" in value):
        value = [value]
    if isinstance(value, str):
        value = _from_json(value, notes) or value
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        turns = read_messages(value, name, notes)
        if len(turns) == 1 and turns[0].role == "assistant":
            return turns[0].content
        raise BadRow(
            "wrong_type",
            f"`{name}` is a conversation of {len(turns)} turns, not one answer; use `layout: shared_prefix`",
        )
    raise BadRow("wrong_type", f"`{name}` is {kind_of(value)}; it must be a string")


def read_conversation(value: Any, name: str, notes: Notes) -> tuple[Message, ...]:
    """Messages, or one text with ``Human:`` and ``Assistant:`` in front of the turns (hh-rlhf)."""
    if isinstance(value, str):
        value = _from_json(value, notes) or value
    if isinstance(value, list):
        return read_messages(value, name, notes)
    if not isinstance(value, str):
        raise BadRow(
            "wrong_type",
            f"`{name}` is {kind_of(value)}; it must be a conversation (messages, or text with Human: and Assistant:)",
        )
    marks = list(_HH_TURN.finditer(value))
    if not marks or value[: marks[0].start()].strip():
        raise BadRow(
            "wrong_type",
            f"`{name}` is text that does not start with `Human:`, so it is not a conversation in the hh-rlhf form",
        )
    return _hh_turns(value, marks)


def is_conversation(value: Any) -> bool:
    """Whether ``value`` is several turns, in any of the forms that :func:`read_conversation` takes."""
    if isinstance(value, str):
        if value.lstrip().startswith(("Human:", "Assistant:")):
            return len(_HH_TURN.findall(value)) > 1
        value = _from_json(value, Counter()) if value.lstrip()[:1] == "[" else None
    return isinstance(value, list) and len(value) > 1 and all(_is_turn(turn) for turn in value)


def read_messages(value: Sequence[Any], name: str, notes: Notes) -> tuple[Message, ...]:
    """Turns as ``{role, content}`` (OpenAI) or ``{from, value}`` (ShareGPT)."""
    return tuple(_read_turn(turn, f"turn {index} of `{name}`", notes) for index, turn in enumerate(value, start=1))


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, Mapping) and ({"role", "content"} <= set(turn) or {"from", "value"} <= set(turn))


def _read_turn(turn: Any, where: str, notes: Notes) -> Message:
    if not _is_turn(turn):
        raise BadRow("bad_turns", f"{where} is not an object with `role` and `content`")
    if "role" in turn and "content" in turn:
        role, content = turn["role"], turn["content"]
    else:
        role, content = _SHAREGPT.get(str(turn["from"]), turn["from"]), turn["value"]
        notes["turns read from `from` and `value`"] += 1
    if role == "function_call":
        notes["tool calls and results written out as text"] += 1
        return Message("assistant", f"<tool_call>\n{_text(content, where, notes)}\n</tool_call>")
    if role in _TOOL_ROLES:
        notes["tool calls and results written out as text"] += 1
        return Message("user", f"<tool_response>\n{_text(content, where, notes)}\n</tool_response>")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRow("bad_turns", f"{where} has the role {role!r}; use system, user, assistant (or developer, tool)")
    if role == "developer":
        notes["developer turns read as system turns"] += 1
    calls = turn.get("tool_calls") if role == "assistant" else None
    if not calls:
        return Message(_ROLES[role], _text(content, where, notes))
    if not isinstance(calls, list):
        raise BadRow("bad_turns", f"`tool_calls` of {where} is {kind_of(calls)}, not a list")
    notes["tool calls and results written out as text"] += 1
    said = "" if content is None else _text(content, where, notes)
    return Message("assistant", "\n".join([*([said] if said else []), *(_call_text(call, where) for call in calls)]))


def _call_text(call: Any, where: str) -> str:
    """One tool call as Hermes, Qwen and many templates write it."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadRow("bad_turns", f"{where} has a tool call without a function name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):  # models write broken arguments; they stay the text that they are
            arguments = json.loads(arguments)
    shown = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False, default=str)
    return f"<tool_call>\n{shown}\n</tool_call>"


def _text(content: Any, where: str, notes: Notes) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRow(
            "wrong_type", f"the content of {where} is {kind_of(content)}, not a string or a list of text parts"
        )
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else kind_of(part)
        if kind not in TEXT_PARTS:
            raise BadRow("wrong_type", f"{where} has a part that is {kind}; only parts of type text can be read")
        if not isinstance(part.get("text"), str):
            raise BadRow("wrong_type", f"{where} has a text part without `text`")
        texts.append(part["text"])
    notes["contents joined from text parts"] += 1
    return "".join(texts)


def _from_json(text: str, notes: Notes) -> list[Any] | None:
    """Messages that were stored as JSON text, else None."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not value or not all(_is_turn(turn) for turn in value):
        return None
    notes["messages read from JSON text"] += 1
    return value


def _hh_turns(text: str, marks: Sequence[re.Match[str]]) -> tuple[Message, ...]:
    """Turns lose the blank after the mark, and empty lines around them; indentation stays."""
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return tuple(
        Message(_HH_ROLES[mark[1]], text[mark.end() : end].removeprefix(" ").lstrip("\r\n").rstrip())
        for mark, end in zip(marks, ends, strict=True)
    )


def kind_of(value: object) -> str:
    """What a value is, as messages say it."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)
