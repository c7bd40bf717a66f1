"""Answers to one prompt, with the prompt computed once for all of them (Prefix Grouper, arXiv 2506.05433).

In a packed row a *root* is a sequence that stands alone, or a prompt that several sequences begin with; a *branch* is
what follows the prompt in one of them: it attends to that prompt and to itself. Losses and gradients are those of the
whole sequences up to rounding. Of six short answers to a question, two thirds of all tokens are not computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from genrm_rl.learners.packing import Segment

SHORTEST = 8  # tokens of a prompt that is worth sharing
Branches = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PackedRow:
    """The tokens of a row: all roots, the shortest first, then all branches.

    ``branches`` are (root, length); ``pieces`` are (place in the row, tokens, position of the first) in row order. A
    segment's first ``shared[i]`` tokens begin at ``root_starts[i]`` of the row, the others at ``branch_starts[i]``.
    """

    roots: tuple[int, ...]
    branches: Branches
    pieces: list[tuple[int, Sequence[int], int]]
    shared: list[int]
    root_starts: list[int]
    branch_starts: list[int]

    def places(self, number: int, positions: np.ndarray) -> np.ndarray:
        """Where in the row these positions of segment ``number`` are."""
        shared = self.shared[number]
        beyond = self.branch_starts[number] - shared
        return positions + np.where(positions < shared, self.root_starts[number], beyond)


def packed_row(segments: Sequence[Segment], *, share: bool) -> PackedRow:
    """The row of ``segments``; without ``share`` every segment is a root. Roots and branches of equal lengths stand
    side by side, so that attention can treat them as one batch."""
    groups = _groups(segments) if share else [[number] for number in range(len(segments))]
    groups.sort(key=lambda group: _root_length(segments, group))
    shared, root_of = [0] * len(segments), [0] * len(segments)
    roots = [_root_length(segments, group) for group in groups]
    for root, group in enumerate(groups):
        for number in group:
            shared[number], root_of[number] = roots[root], root
    rest = [number for number, segment in enumerate(segments) if len(segment.token_ids) > shared[number]]
    rest.sort(key=lambda number: (shared[number], len(segments[number].token_ids), root_of[number]))
    pieces = [(segments[group[0]].token_ids[:length], 0) for group, length in zip(groups, roots, strict=True)]
    pieces += [(segments[number].token_ids[shared[number] :], shared[number]) for number in rest]
    starts = np.cumsum([0, *(len(ids) for ids, _ in pieces)])[:-1].tolist()
    branch_of = {number: len(roots) + place for place, number in enumerate(rest)}
    return PackedRow(
        roots=tuple(roots),
        branches=tuple((root_of[number], len(segments[number].token_ids) - shared[number]) for number in rest),
        pieces=[(start, ids, first) for start, (ids, first) in zip(starts, pieces, strict=True)],
        shared=shared,
        root_starts=[starts[root] for root in root_of],
        branch_starts=[starts[branch_of[number]] if number in branch_of else 0 for number in range(len(segments))],
    )


def sharing_units(examples: Sequence[Sequence[Segment]], budget: int) -> list[tuple[list[int], int]]:
    """Examples that should be computed together, and their tokens: those whose sequences all have the same prompt, as
    many as ``budget`` tokens hold. Pure in its arguments, so all workers find the same."""
    units: list[tuple[list[int], int]] = []
    open_unit: dict[bytes, int] = {}
    for index, parts in enumerate(examples):
        prompts = {_prompt(segment) for segment in parts}
        key = prompts.pop() if len(prompts) == 1 else None
        prompt = 0 if key is None else _prompt_length(parts[0])
        rest = sum(len(segment.token_ids) - prompt for segment in parts)
        unit = -1 if key is None else open_unit.get(key, -1)
        if unit >= 0 and units[unit][1] + rest <= budget:
            units[unit] = ([*units[unit][0], index], units[unit][1] + rest)
            continue
        if key is not None:
            open_unit[key] = len(units)
        units.append(([index], prompt + rest))
    return units


def _groups(segments: Sequence[Segment]) -> list[list[int]]:
    """Numbers of the segments that begin with the same prompt."""
    found: dict[object, list[int]] = {}
    for number, segment in enumerate(segments):
        key = _prompt(segment)
        found.setdefault(number if key is None else key, []).append(number)
    return list(found.values())


def _prompt(segment: Segment) -> bytes | None:
    """What stands before the first prediction that is wanted, as a key; None if it is too short to be shared."""
    length = _prompt_length(segment)
    return None if length < SHORTEST else np.asarray(segment.token_ids[:length], dtype=np.int32).tobytes()


def _prompt_length(segment: Segment) -> int:
    return int(segment.take[0]) + 1


def _root_length(segments: Sequence[Segment], group: Sequence[int]) -> int:
    first = segments[group[0]]
    return len(first.token_ids) if len(group) == 1 else _prompt_length(first)
