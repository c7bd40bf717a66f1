"""What a preference is: the nouns that every other package speaks in.

A :class:`PreferencePair` carries the human (or verified) label. A :class:`Comparison` is what a judge sees: the same
two answers in a drawn order *without* the label, so that no prompt built from it can leak which one won.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from genrm_rl.preferences.guide import NO_GUIDE, Guide

Role = Literal["system", "user", "assistant"]
LabelSource = Literal["human", "ai", "verified"]
Slot = Literal["A", "B"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


def content_hash(*parts: object, length: int = 16) -> str:
    """Hex digest that identifies JSON-serialisable content, stable across runs and machines."""
    payload = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(payload.encode("utf-8")).hexdigest()[:length]


def as_messages(prompt: str | Sequence[Mapping[str, str]] | Sequence[Message]) -> tuple[Message, ...]:
    """A string prompt becomes one user turn; a list of ``{role, content}`` keeps its turns."""
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    return tuple(turn if isinstance(turn, Message) else Message(turn["role"], turn["content"]) for turn in prompt)  # type: ignore[arg-type]


def guide_parts(guide: Guide) -> list[object]:
    """What a guide adds to a hash of content: nothing, if there is none."""
    return [guide.plain()] if guide else []


def other_slot(slot: Slot) -> Slot:
    """B of A and A of B."""
    return "B" if slot == "A" else "A"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one prompt, in slots A and B. Which one won is *not* in it.

    ``pair_id`` names the :class:`PreferencePair` it came from. ``swapped`` says whether this is the pair's canonical
    orientation (False) or the exchanged one (True); it says nothing about the label. ``guide`` is what the judge may be
    told beside the question.
    """

    pair_id: str
    prompt: tuple[Message, ...]
    response_a: str
    response_b: str
    swapped: bool = False
    guide: Guide = NO_GUIDE

    def swap(self) -> Comparison:
        """The same comparison with A and B exchanged."""
        return replace(self, response_a=self.response_b, response_b=self.response_a, swapped=not self.swapped)

    @property
    def order(self) -> Literal["ab", "ba"]:
        """``ab`` for the canonical orientation, ``ba`` for the exchanged one."""
        return "ba" if self.swapped else "ab"


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A labelled pair: ``chosen`` was preferred to ``rejected`` as the answer to ``prompt``.

    ``id`` is a hash of prompt and both answers (see :meth:`create`); ``meta`` keeps what the reader found beside them.
    ``strength`` says how much better the chosen answer is on the annotators' scale (above 0), ``rationales`` what they
    gave as reasons; neither is shown to a judge. ``guide`` is what the judge may be told beside the question. Of a
    ``tie``, neither answer was preferred: ``chosen`` and ``rejected`` are the first and the second one, and there is no
    :meth:`label`.
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str = ""
    category: str = ""
    label_source: LabelSource = "human"
    strength: float | None = None
    rationales: tuple[str, ...] = ()
    guide: Guide = NO_GUIDE
    meta: Mapping[str, object] = field(default_factory=dict, compare=False)
    tie: bool = False

    @classmethod
    def create(
        cls,
        prompt: str | Sequence[Mapping[str, str]] | Sequence[Message],
        chosen: str,
        rejected: str,
        *,
        source: str = "",
        category: str = "",
        label_source: LabelSource = "human",
        strength: float | None = None,
        rationales: Sequence[str] = (),
        guide: Guide = NO_GUIDE,
        meta: Mapping[str, object] | None = None,
        tie: bool = False,
    ) -> PreferencePair:
        """Build a pair and its content-hash id. The id does not depend on which answer was chosen."""
        messages = as_messages(prompt)
        turns = [[turn.role, turn.content] for turn in messages]
        return cls(
            id=content_hash(turns, sorted([chosen, rejected]), *guide_parts(guide)),
            prompt=messages,
            chosen=chosen,
            rejected=rejected,
            source=source,
            category=category,
            label_source=label_source,
            strength=strength,
            rationales=tuple(rationales),
            guide=guide,
            meta=dict(meta or {}),
            tie=tie,
        )

    @property
    def chosen_slot(self) -> Slot:
        """The slot of the chosen answer in the canonical orientation, drawn from the pair's own id (no seed, no label).

        The id ignores which answer won, and the two answers are ordered by their own hashes, so the slot carries no
        information about the label.
        """
        return "A" if content_hash(self.id, self.chosen) < content_hash(self.id, self.rejected) else "B"

    def comparison(self, *, swapped: bool = False) -> Comparison:
        """The unlabelled comparison in the canonical (``swapped=False``) or exchanged orientation."""
        first, second = (self.chosen, self.rejected) if self.chosen_slot == "A" else (self.rejected, self.chosen)
        canonical = Comparison(self.id, self.prompt, first, second, guide=self.guide)
        return canonical.swap() if swapped else canonical

    def label(self, *, swapped: bool = False) -> Slot:
        """The slot that holds the chosen answer in that orientation. Travels beside a Comparison, never in it.

        Raises ValueError for a tie: nothing may take one of its answers for the better one.
        """
        if self.tie:
            raise ValueError(f"pair {self.id} is a tie, neither of its answers is the better one")
        if not swapped:
            return self.chosen_slot
        return other_slot(self.chosen_slot)


def labels_of(pairs: Iterable[PreferencePair]) -> dict[str, Slot | None]:
    """Canonical chosen slot by pair id, None of pairs that are ties."""
    return {pair.id: None if pair.tie else pair.label() for pair in pairs}


def fingerprint(pairs: Iterable[PreferencePair]) -> str:
    """Hash of what the pairs say (ids are hashes of their texts), how they are labelled and sorted into categories,
    what scoring rules read of them, what people wrote about them, and their order; not of the files they come from."""
    place = ("file", "line", "row_id")
    return content_hash(
        [
            [
                pair.id,
                "tie" if pair.tie else pair.label(),
                pair.category,
                {key: str(value) for key, value in pair.meta.items() if key not in place},
                *pair.rationales,
            ]
            for pair in pairs
        ]
    )
