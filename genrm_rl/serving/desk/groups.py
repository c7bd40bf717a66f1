"""What is judged of a group: each different answer has a canonical place, and the rule says which places meet first."""

from __future__ import annotations

from genrm_rl.preferences.types import Comparison
from genrm_rl.rewards.rules import canonical_order, next_matches
from genrm_rl.rewards.types import REFERENCE
from genrm_rl.serving.contracts import GroupIn, RewardsRequest, compare


def places_of(group: GroupIn, seed: int) -> tuple[list[list[int]], dict[int, str]]:
    """Canonical places of a group's answers, and the text at each, the reference answer included."""
    answers = group.answers
    places = canonical_order(answers, seed)
    texts = {place: answers[indices[0]] for place, indices in enumerate(places)}
    return places, texts | {REFERENCE: group.reference or ""}


def first_rounds(body: RewardsRequest, seed: int) -> list[Comparison]:
    """What is judged first; all there is under every rule but knockout."""
    shown = []
    for group in body.groups:
        places, texts = places_of(group, seed)
        matches = next_matches(body.rule, len(places), {}) if places else []
        shown += [compare(group.prompt, texts[a], texts[b], group.guide) for a, b in matches]
    return shown
