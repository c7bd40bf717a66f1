"""How a guide (criteria, a known answer) is written: once, behind the question, in every template family.

A changed wording changes :data:`WORDING`, which is part of every prompt hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genrm_rl.config.rubric import Criterion
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.types import content_hash

_RUBRIC = """

[The Start of the Criteria]
Judge both answers by these criteria.
{criteria}
[The End of the Criteria]"""
# Words of the reference-guided prompt of MT-Bench (arXiv 2306.05685, figure 8).
_REFERENCE = """

Compare both answers with the reference answer.
[The Start of the Reference Answer]
{answer}
[The End of the Reference Answer]"""
_REASONS = """

[The Start of the Reasons]
People who compared both answers gave these reasons.
{reasons}
[The End of the Reasons]"""
_REASONS_INLINE = " (reasons: {reasons})"
_RUBRIC_INLINE, _REFERENCE_INLINE = " (criteria: {criteria})", " (reference answer: {answer})"
_CHOICES = " (from worst to best: {choices})"
WORDING = content_hash(_RUBRIC, _REFERENCE, _RUBRIC_INLINE, _REFERENCE_INLINE, _CHOICES, _REASONS, _REASONS_INLINE)


def guided(question: str, guide: Guide, harmless: Callable[[str], str], *, inline: bool) -> str:
    """``question``, which is rendered already, and the guide behind it.

    ``harmless`` makes a text of the guide unable to forge the family's structure; ``inline`` keeps all on one line.
    """
    rubric, reference = (_RUBRIC_INLINE, _REFERENCE_INLINE) if inline else (_RUBRIC, _REFERENCE)
    if guide.rubric:
        lines = (f"{number}. {harmless(_line(each))}" for number, each in enumerate(guide.rubric, start=1))
        question += rubric.format(criteria=("; " if inline else "\n").join(lines))
    if guide.known_answer is not None:
        question += reference.format(answer=harmless(guide.known_answer))
    return question


def reasoned(question: str, reasons: Sequence[str], harmless: Callable[[str], str], *, inline: bool) -> str:
    """``question`` with what people said about the answers behind it: for a judge that is told the label."""
    if not reasons:
        return question
    said = ("; " if inline else "\n").join(f"- {harmless(each)}" for each in reasons)
    return question + (_REASONS_INLINE if inline else _REASONS).format(reasons=said)


def _line(criterion: Criterion) -> str:
    name = f"{criterion.name}: " if criterion.name else ""
    choices = _CHOICES.format(choices=", ".join(criterion.choices)) if criterion.choices else ""
    return f"{name}{criterion.description}{choices}"
