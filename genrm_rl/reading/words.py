"""How judgments and rewards are said in words on the pages. Pure, no markup."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from genrm_rl.judging.types import Verdict
from genrm_rl.reading.types import Flag, GroupAnswer, Item, Played, ReadGroup, ReadTraces, Vote
from genrm_rl.rewards.types import Mask, Rule

FILTERS = ("verdict_words", "order_words", "outcome", "in_short", "rule_words", "mask_words", "played", "parts_words")
COUNTED_TRACES = (Flag.RIGHT, Flag.WRONG, Flag.NO_VERDICT, Flag.KEPT)
NO_VERDICT = {
    Verdict.UNPARSEABLE: "no verdict (unreadable)",
    Verdict.TRUNCATED: "no verdict (cut off)",
    Verdict.TRUNCATED_THINKING: "no verdict (cut off while it thought)",
    Verdict.TIMED_OUT: "no verdict (late)",
    Verdict.JUDGE_FAILED: "no verdict (the engine failed)",
    Verdict.ONE_ORDER: "no judgment (one order gave no verdict)",
    Verdict.NO_ANSWER: "no judgment (an answer never ends its thinking)",
}
RULES: dict[Rule | Literal["verifier"], str] = {
    "log_odds": "log P / (1 - P) against the reference answer",
    "reference": "P against the reference answer",
    "round_robin": "mean P against all others",
    "bradley_terry": "strength of a Bradley-Terry fit to all matches, centred",
    "pivot": "P against one answer of the group; that one earns one half",
    "circular": "mean P against both neighbours on a ring",
    "chunked": "mean P within the chunk",
    "knockout": "share of the rounds survived",
    "points": "what the judge gives each answer by itself",
    "verifier": "1 for a right answer, 0 for a wrong one",
}
MASKS = {
    Mask.NOT_JUDGED: "too few of its matches came to a probability",
    Mask.ONE_ORDER: "its matches gave a verdict in one order only",
    Mask.NOT_COMPARABLE: "no chain of matches ties it to the rest of its group",
    Mask.ALONE: "alone in its group",
    Mask.REFUSED: "the service refused the group",
    Mask.BUSY: "the service was busy as often as it was asked",
    Mask.OTHER_VERSION: "another judge was served",
    Mask.UNREADABLE: "what the service sent was not its contract",
    Mask.NO_REFERENCE: "the question has no reference answer",
    Mask.NOT_GENERATED: "the engine gave no answer",
    Mask.UNFINISHED_THINKING: "the answer never ends its thinking",
    Mask.TRUNCATED: "the answer was cut off",
}


def verdict_words(verdict: Verdict | None) -> str:
    """A folded verdict, or that of one order."""
    if verdict is None:
        return "not asked"
    if verdict.slot:
        return f"{verdict.slot} is better"
    return "tie" if verdict in (Verdict.TIED, Verdict.ABSTAINED) else NO_VERDICT[verdict]


def order_words(vote: Vote) -> str:
    """Which answer had which letter in a vote's order."""
    return "A shown first" if vote.order == "ab" else "B shown first, under the letter A"


def outcome(flags: Flag) -> str:
    """Right, wrong, or nothing where that can't be said of a judgment."""
    return "right" if flags & Flag.RIGHT else "wrong" if flags & Flag.WRONG else ""


def in_short(item: Item) -> str:
    """A few words behind an item's title in a list."""
    if isinstance(item, ReadTraces):
        counts = Counter(flag for flags in item.tally for flag in COUNTED_TRACES if flags & flag)
        said = "".join(
            f", {counts[flag]} {flag.name.lower().replace('_', ' ')}" for flag in COUNTED_TRACES if counts[flag]
        )
        return f"{len(item.traces)} sampled traces{said}"
    if isinstance(item, ReadGroup):
        masked = sum(answer.mask is not None for answer in item.answers)
        return f"group of {len(item.answers)}" + (f", {masked} masked" if masked else "")
    flags = item.flags
    said = [outcome(flags), "contradictory" if flags & Flag.CONTRADICTORY else "", item.probe.replace("_", " ")]
    found = "" if item.p_a is None else f", P(A) {item.p_a:.2f}"
    return f"{verdict_words(item.verdict)}{found}" + "".join(f", {each}" for each in said if each)


def rule_words(rule: str) -> str:
    """What a rule makes of matches."""
    return RULES.get(rule, "")  # type: ignore[call-overload]


def mask_words(mask: str) -> str:
    """Why there is no reward."""
    return MASKS.get(mask, mask.replace("_", " "))  # type: ignore[call-overload]


def played(match: Played) -> str:
    """A match as its answer sees it."""
    against = "" if match.opponent is None else f" against {match.opponent + 1}"
    return f"{'nothing' if match.outcome is None else f'{match.outcome:.3f}'}{against}"


def parts_words(answer: GroupAnswer) -> str:
    """What a reward that is not the judge's alone is made of."""
    return ", ".join(f"{name} {value:+.3f}" for name, value in answer.parts.items())
