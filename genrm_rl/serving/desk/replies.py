"""What a call gets back, built and encoded outside of the event loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import Response

from genrm_rl.choices import Rule
from genrm_rl.judging.thoughts import never_answers
from genrm_rl.judging.types import Verdict
from genrm_rl.rewards.rules import score, spread
from genrm_rl.rewards.types import Mask
from genrm_rl.serving.contracts import GroupIn, JudgmentOut, RewardOut
from genrm_rl.serving.wire import Wire


def json_reply(reply: Wire) -> Response:
    """A reply, encoded; FastAPI would check and encode it again on the event loop."""
    return Response(reply.model_dump_json(), media_type="application/json")


def earned(
    rule: Rule,
    places: Sequence[Sequence[int]],
    outcomes: Mapping[tuple[int, int], float | None],
    behind: Mapping[int, list[str]],
    judged: Mapping[str, JudgmentOut],
) -> list[RewardOut]:
    """Rewards and masks of one group, in the order in which its responses came. ``behind`` names the judgments of each
    place."""
    scores = spread(places, score(rule, len(places), outcomes))
    place_of = {index: place for place, indices in enumerate(places) for index in indices}
    return [
        RewardOut(
            reward=None if isinstance(value, Mask) else value,
            mask=_mask(value, behind[place_of[index]], judged) if isinstance(value, Mask) else None,
            judgments=behind[place_of[index]],
        )
        for index, value in enumerate(scores)
    ]


def with_unfinished(group: GroupIn, found: Sequence[RewardOut]) -> list[RewardOut]:
    """One entry per response: those of its answers, in order, and the mask of responses whose thinking never ends."""
    left = iter(found)
    masked = RewardOut(reward=None, mask=Mask.UNFINISHED_THINKING, judgments=[])
    return [masked if never_answers(text) else next(left) for text in group.responses]


def _mask(mask: Mask, behind: Sequence[str], judged: Mapping[str, JudgmentOut]) -> Mask:
    """Why there is no reward; more closely where all judgments that are missing are missing for one reason."""
    missing = {judged[name].verdict for name in behind if judged[name].p_a is None}
    return Mask.ONE_ORDER if mask is Mask.NOT_JUDGED and missing == {Verdict.ONE_ORDER} else mask
