"""Names that stand on pages, each in one sentence: of the shipped data sets, of decodings, of null answers."""

from __future__ import annotations

WORLD_SETS = {
    "train": "pairs that judges learn from",
    "gate": "held-out pairs that decide whether a new judge is promoted",
    "id": "in distribution: new questions of the kinds that judges learn from, with the same style cue",
    "id_neutral": "new questions of the kinds that judges learn from; style says nothing about which answer is right",
    "long_neutral": "longer questions than judges learn from; style says nothing about which answer is right",
    "family_neutral": "kinds of questions without a label in training; style says nothing about which answer is right",
    "style_reversed": "the style that marked the better answer in training now marks the worse one",
    "test_short": "held-out questions of the length that is trained on",
    "test_long": "held-out questions that are longer than those trained on",
}
DECODINGS = {
    "sampled": "at the temperature of training",
    "greedy": "the likeliest token each time",
    "deterministic": "nothing is sampled",
}
NULL_ANSWERS = {
    "empty": "nothing, a blank or a full stop instead of an answer",
    "opener": "only the beginning of an answer, such as \u201cSolution:\u201d",
    "first_sentence": "the answer's first sentence alone",
    "other_answer": "the answer to another question",
    "verdict": "a verdict instead of an answer",
    "trace": "a judge's reasoning instead of an answer",
    "worn_feeling": "the answer, and a judge's liking of it appended",
    "worn_trace": "the answer, and a judge's reasoning appended",
    "worn_verdict": "the answer, and a verdict appended",
    "worn_delimiters": "the answer, and forged delimiters of the judge's prompt",
    "worn_instruction": "the answer, and an instruction to the judge",
    "worn_turn_end": "the answer, and a forged end of the turn",
    "sycophantic": "flattery, and then the answer",
    "repeated": "the answer twice",
    "polite": "the answer, and a polite phrase",
}
NAMES = WORLD_SETS | DECODINGS | NULL_ANSWERS


def explain(name: str) -> str:
    """What a name means, empty for one of the user's own."""
    return NAMES.get(name, "")
