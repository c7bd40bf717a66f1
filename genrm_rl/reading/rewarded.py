"""Judgments of an alignment: each group of answers with its rewards, and the matches behind them.

A run keeps the ids of judgments with each answer. An id is a hash of the question and both answers in the order in
which they were sent, so it says which of them was A.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_rl.alignment.answers import JudgedAnswer, read_answers
from genrm_rl.alignment.prompts import REFERENCES, REFERENCES_FILE, PolicyPrompt, find_questions
from genrm_rl.alignment.rollouts import ANSWERS_FILE, JUDGMENTS_FILE
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Slot, as_messages, content_hash, guide_parts
from genrm_rl.reading.types import GroupAnswer, Item, Part, Played, ReadGroup, ReadJudgment, Texts, Vote
from genrm_rl.runtime.storage import is_complete, read_json_lines

VERIFIED = "a verifier says so"


def rewarded_parts(run: Path, config: AlignConfig, name: str) -> Iterator[Part]:
    """One part per step of the alignment in ``run``, which reports call ``name``."""
    folders = [folder for folder in sorted(run.glob("steps/*/rollout")) if is_complete(folder)]
    if not folders:
        return
    notes: list[str] = []
    questions: Mapping[str, PolicyPrompt] = {}
    try:
        questions = find_questions(config.prompts, seed=config.run.seed, show_reference=config.judge.show_reference)
    except DataError as problem:
        notes.append(f"the questions can't be found again: {problem}")
    references = _references(run)
    for folder in folders:
        place = f"{name}steps/{folder.parent.name}"
        groups = _groups(folder, place, config, questions, references)
        yield Part(place, f"rewards of step {int(folder.parent.name) + 1}", groups, notes)
        notes = []


def _references(run: Path) -> dict[str, str | None]:
    """Reference answers that the starting policy gave, by question."""
    path = run / REFERENCES / REFERENCES_FILE
    return {row["prompt_id"]: row["reference"] for row in read_json_lines(path)} if path.is_file() else {}


def _groups(
    folder: Path,
    place: str,
    config: AlignConfig,
    questions: Mapping[str, PolicyPrompt],
    references: Mapping[str, str | None],
) -> Iterator[Item]:
    rows = {row["id"]: row for row in read_json_lines(folder / JUDGMENTS_FILE)}
    rule = config.reward.rule if config.reward.source == "service" else config.reward.source
    for number, group in enumerate(read_answers(folder / ANSWERS_FILE)):
        question = questions.get(group[0].answer.prompt_id)
        reference = references.get(group[0].answer.prompt_id, question.reference if question else None)
        yield from read_group(group, rows, question, reference, rule, f"{place}/{number}")


def read_group(
    group: Sequence[JudgedAnswer],
    rows: Mapping[str, Mapping[str, Any]],
    question: PolicyPrompt | None,
    reference: str | None,
    rule: str,
    place: str,
) -> Iterator[Item]:
    """A group, and then each judgment behind its rewards. ``rows`` are judgments by id, as the service sent them;
    ``place`` tells groups of a run apart."""
    texts = [judged.answer.text for judged in group]
    behind = {name: rows[name] for judged in group for name in judged.record.judgments if name in rows}
    sides = {name: _sides(name, group, question, reference) for name in behind}
    ids = {name: content_hash(place, name) for name in behind}
    order = {name: number for number, name in enumerate(behind)}
    right = [question.right(text) if question is not None and question.verifiable else None for text in texts]
    answers = [
        GroupAnswer(
            text=judged.answer.text,
            reward=judged.record.reward,
            mask=None if judged.record.mask is None else str(judged.record.mask),
            parts=judged.record.parts,
            right=right[index],
            matches=[
                Played(*_played(judged.answer.text, behind[name], sides[name], texts), ids[name], order[name])
                for name in judged.record.judgments
                if name in behind
            ],
        )
        for index, judged in enumerate(group)
    ]
    first = group[0]
    yield ReadGroup(
        id=content_hash(place, "group", first.answer.prompt_id),
        prompt=question.messages if question is not None else (),
        answers=answers,
        rule=rule,
        judge_version=first.record.judge_version,
        reference=reference if any(sides[name] and reference in sides[name] for name in behind) else None,
        facts=[("question", first.answer.prompt_id), ("policy", first.answer.weight_version)],
    )
    known = dict(zip(texts, right, strict=True))
    group_id = content_hash(place, "group", first.answer.prompt_id)
    for name, row in behind.items():
        yield _judgment(row, sides[name], question, known, ids[name], group_id, first.record.judge_version)


def _sides(
    name: str, group: Sequence[JudgedAnswer], question: PolicyPrompt | None, reference: str | None
) -> tuple[str, str] | None:
    """Which answers a judgment is about, A first; None if no two of them make its id."""
    if question is None:
        return None
    turns = [[turn.role, turn.content] for turn in as_messages(question.wire())]
    own = list(dict.fromkeys(judged.answer.text for judged in group if name in judged.record.judgments))
    candidates = [(a, b) for a in own for b in own] + [(a, reference) for a in own if reference is not None]
    guide = guide_parts(question.guide)
    return next((pair for pair in candidates if content_hash(turns, *pair, *guide) == name), None)


def _played(
    text: str, row: Mapping[str, Any], sides: tuple[str, str] | None, texts: Sequence[str]
) -> tuple[int | None, float | None]:
    """A match as one of its answers sees it: the opponent's place in the group, and what came out."""
    if sides is None:
        return None, None
    first, second = sides
    if first == second:
        return None, row["points"]["a"] if row.get("points") else row["p_a"]
    other = second if text == first else first
    p = row["p_a"]
    return texts.index(other) if other in texts else None, p if p is None or text == first else 1 - p


def _judgment(
    row: Mapping[str, Any],
    sides: tuple[str, str] | None,
    question: PolicyPrompt | None,
    right: Mapping[str, bool | None],
    identifier: str,
    group: str,
    version: str,
) -> ReadJudgment:
    shown = Texts(question.messages, *sides, question.guide) if question is not None and sides is not None else None
    votes = [
        Vote(each["order"], Verdict(each["verdict"]), each["p_a"], each["text"]) for each in row["rationales"] or ()
    ]
    return ReadJudgment(
        id=identifier,
        texts=shown,
        verdict=Verdict(row["verdict"]),
        verdict_ab=_verdict(row["verdict_ab"]),
        verdict_ba=_verdict(row["verdict_ba"]),
        p_a=row["p_a"],
        tie=row["tie"],
        votes=votes,
        gold=_gold(sides, right, question),
        gold_from=VERIFIED,
        facts=[("judge", version), ("remembered", "yes" if row.get("cached") else "no"), ("judgment", row["id"])],
        group=group,
    )


def _gold(
    sides: tuple[str, str] | None, right: Mapping[str, bool | None], question: PolicyPrompt | None
) -> Slot | None:
    """The only right answer of two; None where both are right or wrong, or nothing can verify them."""
    if sides is None or question is None or not question.verifiable:
        return None
    a, b = (right[text] if text in right else question.right(text) for text in sides)
    return None if a == b else "A" if a else "B"


def _verdict(name: str | None) -> Verdict | None:
    return None if name is None else Verdict(name)
