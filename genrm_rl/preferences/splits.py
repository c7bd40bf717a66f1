"""Train, gate and test kept apart: cut by prompt, copies removed from the less held-out side and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrm_rl.errors import DataError
from genrm_rl.preferences.dedup import PromptTable
from genrm_rl.preferences.types import PreferencePair, content_hash

Pairs = list[PreferencePair]
EQUAL, NEAR = "equal", "near_duplicate"  # how a prompt is a copy of another


@dataclass(frozen=True, slots=True)
class Leaks:
    """Pairs removed because their prompt is also on a more held-out side: counts by (side, against, kind)."""

    counts: Mapping[tuple[str, str, str], int]

    def as_rows(self) -> list[dict[str, object]]:
        """Plain form for reports."""
        return [
            {"removed_from": side, "because_of": against, "kind": kind, "pairs": count}
            for (side, against, kind), count in sorted(self.counts.items())
        ]


def hash_order(pairs: Sequence[PreferencePair], seed: int) -> Pairs:
    """Pairs in an order drawn from the seed and each pair's id alone: any beginning of it is a fair, stable sample.

    Pairs of one ``item`` (a row of several answers) stand together, in the item's place.
    """
    return sorted(pairs, key=lambda pair: (content_hash(seed, item_of(pair)), pair.id))


def item_of(pair: PreferencePair) -> str:
    """What the pair is a part of: the row of several answers that it comes from, or itself."""
    return str(pair.meta["item"]) if "item" in pair.meta else pair.id


def cut_gate(train: Sequence[PreferencePair], fraction: float, seed: int, prompts: PromptTable) -> tuple[Pairs, Pairs]:
    """Move about ``fraction`` of the distinct training prompts, with all their pairs, to the gate.

    Near-duplicate prompts move together, so that the cut costs no pair; which ones go is decided by a hash of seed and
    text. Returns (train, gate), each in the given order. Raises DataError when there are no two prompts to tell apart.
    """
    keys = dict.fromkeys(prompts.key(pair) for pair in train)
    groups = sorted(prompts.clusters(keys), key=lambda group: content_hash(seed, "gate", min(group)))
    if len(groups) < 2:
        raise DataError(
            f"The gate can't be cut from the training pairs: their {len(keys)} prompts are all (nearly) the same; name "
            "held-out pairs in data.gate."
        )
    target = max(1, round(fraction * len(keys)))
    chosen: set[str] = set()
    for group in groups:
        if len(chosen) + len(group) <= target:
            chosen.update(group)
    if not chosen:  # every group is larger than the gate was meant to be
        chosen.update(min(groups, key=len))
    kept = [pair for pair in train if prompts.key(pair) not in chosen]
    return kept, [pair for pair in train if prompts.key(pair) in chosen]


def remove_leaks(
    train: Sequence[PreferencePair],
    gate: Sequence[PreferencePair],
    test: Mapping[str, Sequence[PreferencePair]],
    prompts: PromptTable,
) -> tuple[Pairs, Pairs, Leaks]:
    """Drop what is (nearly) a copy of a more held-out prompt: gate loses against test, train against gate and test.

    ``prompts`` must know the pairs of all sides; its threshold decides what a near-copy is.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    held_out: dict[str, str] = {}  # prompt key to the first side that has it
    for name, pairs in test.items():
        for pair in pairs:
            held_out.setdefault(prompts.key(pair), f"test/{name}")
    kept_gate = _without_copies("gate", gate, held_out, prompts, counts)
    for pair in kept_gate:
        held_out.setdefault(prompts.key(pair), "gate")
    kept_train = _without_copies("train", train, held_out, prompts, counts)
    return kept_train, kept_gate, Leaks(dict(counts))


def _without_copies(
    side: str,
    pairs: Sequence[PreferencePair],
    held_out: Mapping[str, str],
    prompts: PromptTable,
    counts: Counter[tuple[str, str, str]],
) -> Pairs:
    index = prompts.index(held_out)
    causes: dict[str, tuple[str, str] | None] = {}
    kept = []
    for pair in pairs:
        key = prompts.key(pair)
        if key not in causes:
            if key in held_out:
                causes[key] = (held_out[key], EQUAL)
            else:
                near = prompts.similar(key, index)
                causes[key] = (held_out[near[0]], NEAR) if near else None
        cause = causes[key]
        if cause is None:
            kept.append(pair)
        else:
            counts[side, *cause] += 1
    return kept
