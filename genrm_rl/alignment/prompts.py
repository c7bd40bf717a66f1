"""The questions that a policy is asked: from the task world or from files, held-out ones kept apart."""

from __future__ import annotations

import functools
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from genrm_rl.config import SourceConfig
from genrm_rl.config.prompts import PromptsConfig, PromptSource
from genrm_rl.errors import DataError, ModelError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.thoughts import without_thoughts
from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.rejects import RejectLog
from genrm_rl.preferences.turns import (
    BadRow,
    Notes,
    blank,
    is_conversation,
    kind_of,
    read_answer,
    read_messages,
    read_prompt,
)  # fmt: skip
from genrm_rl.preferences.types import Message, as_messages, content_hash
from genrm_rl.preferences.validation import RawRow, read_guide
from genrm_rl.preferences.world.families import FAMILIES
from genrm_rl.preferences.world.pairs import questions
from genrm_rl.preferences.world.style import verify
from genrm_rl.rewards.verifier import is_right
from genrm_rl.rewards.wire import Group

REFERENCES, REFERENCES_FILE = "references", "references.jsonl"  # stage of the starting policy's own answers
_REASONS = {"too_long": "too long", "empty": "empty"}


@dataclass(frozen=True, slots=True)
class PolicyPrompt:
    """One question. ``token_ids`` end where the policy starts to write; ``world`` is the text of a task-world question,
    whose answer can be verified, else empty. ``reference`` is what answers are compared with under the rules that need
    it, ``known_answer`` the answer that a verifier compares with. ``guide`` is what the judge is told beside it."""

    id: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...]
    world: str = ""
    reference: str | None = None
    guide: Guide = NO_GUIDE
    known_answer: str | None = None

    @property
    def verifiable(self) -> bool:
        """Whether :meth:`right` can say anything."""
        return bool(self.world) or self.known_answer is not None

    def right(self, text: str) -> bool:
        """What a verifier says of an answer. Raises ValueError for a question that nothing can verify."""
        if self.world:
            return verify(self.world, without_thoughts(text))
        if self.known_answer is None:
            raise ValueError(f"question {self.id} has no known answer")
        return is_right(text, self.known_answer)

    @property
    def family(self) -> str:
        """Task family, empty outside the task world."""
        return self.world.partition(" ")[0]

    def wire(self) -> str | tuple[dict[str, str], ...]:
        """As the reward service takes it."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return tuple({"role": turn.role, "content": turn.content} for turn in self.messages)

    def group(self, responses: Sequence[str], reference: str | None = None) -> Group:
        """Responses to this question, as the reward service is asked about them."""
        return Group(self.wire(), tuple(responses), reference, self.guide.plain())


@dataclass(slots=True)
class PromptReport:
    """What became of one source: rows read, prompts kept, rows left out by reason, and what was read in another
    form."""

    side: str
    name: str
    rows: int = 0
    prompts: int = 0
    repeated: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    read_as: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptSets:
    """Questions to learn on, and held-out sets by name. ``removed`` counts training questions that a test set has."""

    train: list[PolicyPrompt]
    test: dict[str, list[PolicyPrompt]]
    removed: int = 0
    sources: tuple[PromptReport, ...] = ()

    def describe(self) -> str:
        """One line: questions per set, and what was left out or read in another form."""
        tests = ", ".join(f"{len(found):,} {name}" for name, found in self.test.items())
        counts = Notes()
        for source in self.sources:
            counts.update(source.left_out)
        said = [f"{count:,} {_REASONS.get(kind, kind)} left out" for kind, count in counts.items()]
        said += [f"{self.removed:,} copies of held-out questions removed"] * bool(self.removed)
        counts = Notes()
        for source in self.sources:
            counts.update(source.read_as)
        said += [f"{count:,} {what}" for what, count in counts.items()]
        return f"{len(self.train):,} questions to learn on, held out: {tests}{''.join(f'; {part}' for part in said)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "in_words": self.describe(),
            "train": len(self.train),
            "test": {name: len(prompts) for name, prompts in self.test.items()},
            "copies_removed_from_train": self.removed,
            "sources": [asdict(source) for source in self.sources],
        }

    @functools.cached_property
    def by_id(self) -> dict[str, PolicyPrompt]:
        """Training questions by id."""
        return {prompt.id: prompt for prompt in self.train}

    def others(self, asked: Collection[str], size: int, seed: str) -> list[PolicyPrompt]:
        """At most ``size`` training questions that are not among the ids ``asked``, drawn from ``seed``."""
        left = [prompt for prompt in self.train if prompt.id not in asked]
        return random.Random(seed).sample(left, min(size, len(left)))

    def batch(self, step: int, size: int, seed: int) -> list[PolicyPrompt]:
        """Questions of a step: consecutive pieces of one seeded shuffle per pass over the data."""
        positions = range(step * size, (step + 1) * size)
        count = len(self.train)
        orders = {
            lap: random.Random(f"prompts/{seed}/{lap}").sample(range(count), count)
            for lap in {position // count for position in positions}
        }
        return [self.train[orders[position // count][position % count]] for position in positions]


def load_prompts(
    config: PromptsConfig, chat: ChatEncoder, *, room: int, seed: int, show_reference: bool = False
) -> PromptSets:
    """Read every source. ``room`` is the longest prompt in tokens; ``show_reference``: the judge sees known answers.

    Raises DataError, naming file and line, for a row without a usable prompt (unless ``on_bad_row`` is skip) or one
    that does not fit (unless ``on_long`` is skip), and for a set that comes out empty.
    """
    test: dict[str, list[PolicyPrompt]] = {}
    reports: list[PromptReport] = []
    reader = _Reader(config, chat, room, seed, show_reference)
    for source in config.test:
        if source.title in test:
            raise DataError(f"two prompt sets are called {source.title}; give one of them a `name`")
        test[source.title] = reader.read(source, reports, "test")
    held_out = {prompt.id for prompts in test.values() for prompt in prompts}
    found = {p.id: p for source in config.train for p in reader.read(source, reports, "train")}
    train = [prompt for prompt in found.values() if prompt.id not in held_out]
    reader.finish()
    removed = len(found) - len(train)
    for name, prompts in {"train": train, **test}.items():
        if not prompts:
            copies = f" ({removed} were copies of held-out prompts)" if name == "train" and removed else ""
            raise DataError(f"the prompt set {name} is empty{copies}; check prompts.train and prompts.test")
    return PromptSets(train, test, removed, tuple(reports))


def find_questions(config: PromptsConfig, *, seed: int, show_reference: bool = False) -> dict[str, PolicyPrompt]:
    """Training questions by id, without tokens, for whoever reads a finished run; those too that the run left out.
    Raises DataError for a source that can't be read."""
    reader, reports = _Reader(config, None, 0, seed, show_reference), list[PromptReport]()
    sources = (each if each.world else each.model_copy(update={"limit": None}) for each in config.train)
    return {prompt.id: prompt for source in sources for prompt in reader.read(source, reports, "train")}


class _Reader:
    """Reads sources one after another, bad and over-long rows with a log each; without ``chat`` there are no tokens."""

    def __init__(
        self, config: PromptsConfig, chat: ChatEncoder | None, room: int, seed: int, show_reference: bool
    ) -> None:
        self.config, self.chat, self.room, self.seed = config, chat, room, seed
        self.show_reference = show_reference
        mend = "mend the data, or leave such rows out with `prompts"
        self.bad = RejectLog(config.on_bad_row, way_out=f"{mend}.on_bad_row: skip`")
        self.long = RejectLog(config.on_long, way_out=f"{mend}.on_long: skip`")

    def finish(self) -> None:
        """Raise DataError for what was refused, unless such rows are to be skipped."""
        self.bad.finish()
        self.long.finish()

    def read(self, source: PromptSource, reports: list[PromptReport], side: str) -> list[PolicyPrompt]:
        """Different prompts of one source, in its order; what became of its rows goes to ``reports``."""
        report = PromptReport(side, source.title)
        reports.append(report)
        if source.world is not None:
            found = self._world(source)
            report.rows = report.prompts = len(found)
            return found
        kept: dict[str, PolicyPrompt] = {}
        left_out, notes = Notes(), Notes()
        files = SourceConfig(path=source.path, split=source.split, config_name=source.config_name)
        for row in read_rows(files, Path(self.config.root)):
            report.rows += 1
            try:
                prompt = self._guided(self._prompt(_turns(row, source, notes)), row, source, notes)
            except BadRow as reason:
                left_out[reason.kind] += 1
                (self.long if reason.kind == "too_long" else self.bad).add_row(row, reason.kind, str(reason))
                continue
            report.repeated += prompt.id in kept
            kept.setdefault(prompt.id, prompt)
            if len(kept) == source.limit:
                break
        report.prompts, report.left_out, report.read_as = len(kept), dict(left_out), dict(notes)
        return list(kept.values())

    def _guided(self, prompt: PolicyPrompt, row: RawRow, source: PromptSource, notes: Notes) -> PolicyPrompt:
        """With what its other columns say."""
        found = read_guide(row.fields, source.rubric, source.known_answer)
        if source.known_answer and found.known_answer is None:
            raise BadRow("empty", f"the known answer in `{source.known_answer}` is empty")
        guide = found if self.show_reference else replace(found, known_answer=None)
        reference = _reference(row, source, notes)
        return replace(prompt, reference=reference, guide=guide, known_answer=found.known_answer)

    def _world(self, source: PromptSource) -> list[PolicyPrompt]:
        unknown = [name for name in source.families if name not in FAMILIES]
        if unknown:
            raise DataError(f"unknown task family {unknown[0]}; choose among {', '.join(FAMILIES)}")
        asked = questions(
            str(source.world),
            source.limit or self.config.world_size,
            self.seed,
            families=source.families or FAMILIES,
            length=source.length,
        )
        try:
            return [self._prompt(as_messages(text), world=text) for text in dict.fromkeys(asked)]
        except BadRow as reason:
            raise DataError(f"task world, {source.world}: {reason}") from reason

    def _prompt(self, messages: tuple[Message, ...], world: str = "") -> PolicyPrompt:
        """Raises BadRow if the template refuses the turns, the tokenizer does not know the text, or it is too long."""
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        name = content_hash([[turn["role"], turn["content"]] for turn in turns])
        if self.chat is None:
            return PolicyPrompt(name, messages, (), world)
        try:
            ids = self.chat.conversation_ids(turns, generation=True)
        except ModelError as error:
            raise BadRow("template", str(error)[:1].lower() + str(error)[1:].rstrip(".")) from error
        if self.chat.unknown_in(ids):
            raise BadRow("unknown_characters", "it has characters that the model's tokenizer does not know")
        if len(ids) > self.room:
            words = f"the prompt has {len(ids)} tokens and {self.room} fit beside sampling.max_tokens"
            raise BadRow("too_long", f"{words} in model.max_context")
        return PolicyPrompt(name, messages, tuple(ids), world)


def _turns(row: RawRow, source: PromptSource, notes: Notes) -> tuple[Message, ...]:
    if row.problem:
        raise BadRow("unreadable", row.problem)
    if not isinstance(row.fields, Mapping):
        raise BadRow("wrong_type", f"a row must be an object with named fields, not {kind_of(row.fields)}")
    return read_prompt(_column(row, source.column), source.column, notes)


def _reference(row: RawRow, source: PromptSource, notes: Notes) -> str | None:
    """The reference answer of a row that :func:`_turns` has read; of a conversation the last turn."""
    if source.reference is None:
        return None
    value = _column(row, source.reference)
    if is_conversation(value) and (turns := read_messages(value, source.reference, notes))[-1].role == "assistant":
        answer = turns[-1].content
    else:
        answer = read_answer(value, source.reference, notes)
    if blank(answer):
        raise BadRow("empty", f"the reference answer in `{source.reference}` is empty")
    return answer


def _column(row: RawRow, name: str) -> Any:
    if name not in row.fields:
        found = ", ".join(f"`{key}`" for key in list(row.fields)[:8]) or "nothing"
        raise BadRow("missing_field", f"the column `{name}` is missing (found {found})")
    return row.fields[name]
