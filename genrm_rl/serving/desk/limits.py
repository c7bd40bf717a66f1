"""Limits of one call, each checked before anything of it is built: votes, groups, responses, comparisons, text."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import HTTPException

from genrm_rl.config.serving import ServingConfig
from genrm_rl.preferences.guide import guide_texts
from genrm_rl.preferences.types import Comparison
from genrm_rl.rewards.rules import comparisons
from genrm_rl.serving.contracts import RewardsRequest
from genrm_rl.serving.desk.admission import Admission
from genrm_rl.serving.wire import Ask

RESPONSES_PER_COMPARISON = 8  # of all groups of a call together; equal responses are many and cost no comparison


def check_votes(ask: Ask, settings: ServingConfig) -> None:
    """HTTPException 422 for more votes per order than may be asked for."""
    if ask.votes > settings.max_votes:
        raise HTTPException(422, f"votes: at most {settings.max_votes} votes per order may be asked for")


def comparisons_needed(body: RewardsRequest, settings: ServingConfig, admission: Admission) -> int:
    """Comparisons that the call needs, by arithmetic. HTTPException 413 for more of anything than is taken."""
    most = settings.max_comparisons
    responses = sum(len(group.responses) for group in body.groups)
    if len(body.groups) > most:
        raise HTTPException(413, f"the call has {len(body.groups)} groups and the service takes {most}")
    needed = sum(comparisons(body.rule, len(set(group.answers))) for group in body.groups)
    admission.check(needed)
    if responses > RESPONSES_PER_COMPARISON * most:
        raise HTTPException(
            413, f"the call has {responses} responses and the service takes {RESPONSES_PER_COMPARISON * most}"
        )
    return needed


def check_characters(shown: Sequence[Comparison], limit: int) -> None:
    """HTTPException 413 for a text of more characters."""
    for number, comparison in enumerate(shown):
        texts = [turn.content for turn in comparison.prompt] + guide_texts(comparison.guide)
        for text in (*texts, comparison.response_a, comparison.response_b):
            if len(text) > limit:
                raise HTTPException(413, f"comparison {number} has a text of {len(text)} characters, limit {limit}")
