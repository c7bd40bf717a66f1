"""The questions that a policy is asked: from the task world or from files, held-out ones kept apart."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_rl.config import SourceConfig
from genrm_rl.config.alignment import PromptsConfig, PromptSource
from genrm_rl.errors import DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.types import Message, as_messages, content_hash
from genrm_rl.preferences.validation import RawRow
from genrm_rl.preferences.world.families import FAMILIES
from genrm_rl.preferences.world.pairs import questions


@dataclass(frozen=True, slots=True)
class PolicyPrompt:
    """One question. ``token_ids`` end where the policy starts to write; ``world`` is the text of a task-world question,
    whose answer can be verified, else empty."""

    id: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]
    world: str = ""

    @property
    def family(self) -> str:
        """Task family, empty outside the task world."""
        return self.world.partition(" ")[0]

    def wire(self) -> str | tuple[dict[str, str], ...]:
        """As the reward service takes it."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return tuple({"role": turn.role, "content": turn.content} for turn in self.messages)


@dataclass(frozen=True)
class PromptSets:
    """Questions to learn on, and held-out sets by name. ``removed`` counts training questions that a test set has."""

    train: list[PolicyPrompt]
    test: dict[str, list[PolicyPrompt]]
    removed: int = 0

    def batch(self, step: int, size: int, seed: int) -> list[PolicyPrompt]:
        """Questions of a step: consecutive pieces of one seeded shuffle per pass over the data."""
        positions = range(step * size, (step + 1) * size)
        count = len(self.train)
        orders = {
            lap: random.Random(f"prompts/{seed}/{lap}").sample(range(count), count)
            for lap in {position // count for position in positions}
        }
        return [self.train[orders[position // count][position % count]] for position in positions]


def load_prompts(config: PromptsConfig, chat: ChatEncoder, *, room: int, seed: int) -> PromptSets:
    """Read every source. ``room`` is the longest prompt in tokens.

    Raises DataError, naming file and line, for a row without a usable prompt or one that does not fit, and for a set
    that comes out empty.
    """
    test: dict[str, list[PolicyPrompt]] = {}
    for source in config.test:
        if source.title in test:
            raise DataError(f"two prompt sets are called {source.title}; give one of them a `name`")
        test[source.title] = _read(source, config, chat, room, seed)
    held_out = {prompt.id for prompts in test.values() for prompt in prompts}
    found = {p.id: p for source in config.train for p in _read(source, config, chat, room, seed)}
    train = [prompt for prompt in found.values() if prompt.id not in held_out]
    for name, prompts in {"train": train, **test}.items():
        if not prompts:
            raise DataError(f"the prompt set {name} is empty; check prompts.train and prompts.test")
    return PromptSets(train, test, len(found) - len(train))


def _read(source: PromptSource, config: PromptsConfig, chat: ChatEncoder, room: int, seed: int) -> list[PolicyPrompt]:
    if source.world is not None:
        unknown = [name for name in source.families if name not in FAMILIES]
        if unknown:
            raise DataError(f"unknown task family {unknown[0]}; choose among {', '.join(FAMILIES)}")
        asked = questions(
            source.world,
            source.limit or config.world_size,
            seed,
            families=source.families or FAMILIES,
            length=source.length,
        )
        texts = list(dict.fromkeys(asked))
        return [_prompt(as_messages(text), chat, room, text, world=text) for text in texts]
    rows = read_rows(SourceConfig(path=source.path), Path(config.root))
    return [_of_row(row, source, chat, room) for row in itertools.islice(rows, source.limit)]


def _of_row(row: RawRow, source: PromptSource, chat: ChatEncoder, room: int) -> PolicyPrompt:
    where = f"{row.file}:{row.line}"
    if row.problem:
        raise DataError(f"{where}: {row.problem}")
    value: Any = row.fields.get(source.column) if isinstance(row.fields, dict) else None
    if isinstance(value, str) and value.strip():
        return _prompt(as_messages(value), chat, room, where)
    if _is_conversation(value):
        return _prompt(as_messages(value), chat, room, where)
    raise DataError(
        f"{where}: column {source.column} must be a text, or messages that end with a user turn, not {value!r:.80}"
    )


def _is_conversation(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(turn, dict) and {"role", "content"} <= set(turn) for turn in value)
        and value[-1]["role"] == "user"
    )


def _prompt(messages: tuple[Message, ...], chat: ChatEncoder, room: int, where: str, world: str = "") -> PolicyPrompt:
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    ids = chat.conversation_ids(turns, generation=True)
    if len(ids) > room:
        raise DataError(
            f"{where}: the prompt has {len(ids)} tokens and {room} fit beside sampling.max_tokens in model.max_context"
        )
    return PolicyPrompt(content_hash([[t["role"], t["content"]] for t in turns]), messages, tuple(ids), world)
