"""Rows of published preference sets and judge benchmarks, read as they are shipped.

Rows with several answers become several comparisons of one ``item``; ``correct`` and ``incorrect`` are the numbers of
its good and bad answers, ``candidate`` and ``chosen_candidate`` say which of them a comparison is about (from 0).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from genrm_rl.preferences.labels import Outcome, read_label, read_number, read_strength
from genrm_rl.preferences.layouts import (
    LABELLED,
    PAIR,
    SHARED_PREFIX,
    Found,
    Layout,
    Row,
    chosen_kind,
    ordered,
    texts,
)
from genrm_rl.preferences.turns import BadRow, kind_of, read_answer
from genrm_rl.preferences.types import Message, content_hash

_NEMO_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
_EQUAL = "pairs of equal rank, score or text left out"
STYLES = 3  # of RM-Bench: concise, detailed, detailed with markdown


def _item(row: Row, prompt: tuple[Message, ...], *names: str) -> str:
    """What the rows of one question have in common: its id, else a hash of the question."""
    found = next((row.fields[name] for name in names if isinstance(row.fields.get(name), str | int)), None)
    return content_hash([[turn.role, turn.content] for turn in prompt]) if found is None else str(found)


def _product(
    row: Row, prompt: tuple[Message, ...], good: list[str], bad: list[str], *ids: str, **more: Any
) -> list[Found]:
    """Each good answer against each bad one."""
    meta = {"item": _item(row, prompt, *ids), "correct": len(good), "incorrect": len(bad), **more.pop("meta", {})}
    columns = row.source.columns
    return [
        Found(
            prompt,
            chosen,
            rejected,
            (f"{columns.chosen}.{i}", f"{columns.rejected}.{j}"),
            meta=meta | {"candidate": j, "chosen_candidate": i},
            **more,
        )
        for (i, chosen), (j, rejected) in itertools.product(enumerate(good), enumerate(bad))
    ]


def _lists(row: Row) -> tuple[list[str], list[str]]:
    columns = row.source.columns
    for name in (columns.chosen, columns.rejected):
        if not texts(row.get(name)):
            raise BadRow("wrong_type", f"`{name}` is {kind_of(row.get(name))}; it must be a list of answers (texts)")
    return row.get(columns.chosen), row.get(columns.rejected)


def _read_best_of(row: Row) -> list[Found]:
    """RewardBench 2: one right answer against three, or (ties) several against several."""
    good, bad = _lists(row)
    return _product(row, row.prompt(), good, bad, "id")


def _read_rm_bench(row: Row) -> list[Found]:
    """RM-Bench: three styles of the right answer against three of the wrong one."""
    good, bad = _lists(row)
    if not len(good) == len(bad) == STYLES:
        raise BadRow("wrong_type", f"it has {len(good)} chosen and {len(bad)} rejected answers; RM-Bench has 3 of each")
    found = _product(row, row.prompt(), good, bad, "id", category=str(row.fields.get("domain", "")))
    styles = [{"chosen_style": one.meta["chosen_candidate"], "rejected_style": one.meta["candidate"]} for one in found]
    return [
        Found(one.prompt, one.chosen, one.rejected, one.names, one.category, meta={"item": one.meta["item"], **style})
        for one, style in zip(found, styles, strict=True)
    ]


def _rmb_category(row: Row) -> tuple[str, dict[str, str]]:
    """``Pairwise_set/Helpfulness/Chat/Discussion``: the goal, and the whole path as the subset."""
    path = str(row.fields.get("category_path", ""))
    parts = path.split("/")
    return parts[1] if len(parts) > 1 else path, {"subset": path} if path else {}


def _rmb_answer(value: Any, name: str, row: Row) -> str:
    if not isinstance(value, Mapping) or "answer" not in value:
        raise BadRow("wrong_type", f"`{name}` is {kind_of(value)}; RMB has an object with `answer` there")
    return read_answer(value["answer"], name, row.notes)


def _read_rmb(row: Row) -> list[Found]:
    """RMB, pairs."""
    category, meta = _rmb_category(row)
    prompt = row.prompt("conversation_input")
    chosen, rejected = (_rmb_answer(row.get(name), name, row) for name in ("chosen", "reject"))
    meta = {"item": _item(row, prompt, "pair_uid"), **meta}
    return [Found(prompt, chosen, rejected, ("chosen", "reject"), category, meta=meta)]


def _read_rmb_best_of(row: Row) -> list[Found]:
    """RMB, best of n: the best answer against each of the others."""
    category, meta = _rmb_category(row)
    losers = row.get("loser_list")
    if not isinstance(losers, list) or not losers:
        raise BadRow("wrong_type", f"`loser_list` is {kind_of(losers)}; it must be a list of answers")
    best = _rmb_answer(row.get("bon_best"), "bon_best", row)
    others = [_rmb_answer(loser, f"loser_list.{number}", row) for number, loser in enumerate(losers)]
    return _product(row, row.prompt("conversation_input"), [best], others, "bon_uid", category=category, meta=meta)


def _read_judgebench(row: Row) -> list[Found]:
    """JudgeBench: two answers and ``A>B`` or ``B>A``; the category is where the question is from."""
    outcome = read_label(row.get("label"), "label", None, row.place)
    source = str(row.fields.get("source", ""))
    category = "mmlu-pro" if source.startswith("mmlu-pro") else source
    sides = (row.answer("response_A"), row.answer("response_B"), "response_A", "response_B")
    meta = {"subset": source, "item": str(row.fields.get("pair_id", ""))}
    return ordered(row, outcome, "label", row.prompt("question"), *sides, category=category, meta=meta)


def _read_pandalm(row: Row) -> list[Found]:
    """PandaLM: what at least two of the annotators say (0 tie, 1 first, 2 second); without a majority it is a tie."""
    names = sorted(name for name in row.fields if re.fullmatch(r"annotator\d+", name))
    said = Counter[Outcome](read_label(row.get(name), name, 1, row.place) for name in names)
    outcome, votes = said.most_common(1)[0]
    if 2 * votes <= len(names) and row.keep_ties:
        outcome = "tie"
    elif 2 * votes <= len(names):
        raise BadRow("tie", f"the {len(names)} annotators have no majority ({', '.join(sorted(said))})")
    sides = (row.answer("response1"), row.answer("response2"), "response1", "response2")
    meta = {"annotators": len(names), "agreeing": votes}
    return ordered(row, outcome, names[0], row.prompt("instruction"), *sides, meta=meta)


def _read_auto_j(row: Row) -> list[Found]:
    """Auto-J pairwise: 0 the first, 1 the second, 2 a tie; the category is the scenario."""
    outcome = read_label(row.get("label"), "label", 0, row.place)
    sides = (row.answer("response 1"), row.answer("response 2"), "response 1", "response 2")
    return ordered(row, outcome, "label", row.prompt(), *sides, category=str(row.fields.get("scenario", "")))


def _read_helpsteer2(row: Row) -> list[Found]:
    """HelpSteer2-preference: strength -3 to 3, the annotators' statement and elaboration."""
    outcome, strength = read_strength(row.get("preference_strength"), "preference_strength")
    parts = (row.fields.get(f"preference_{part}") for part in ("statement", "elaboration"))
    said = "\n".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
    sides = (row.answer("response_1"), row.answer("response_2"), "response_1", "response_2")
    more = {"strength": strength, "rationales": (said,) if said else ()}
    return ordered(row, outcome, "preference_strength", _nemo_turns(row), *sides, **more)


def _nemo_turns(row: Row) -> tuple[Message, ...]:
    """HelpSteer2 writes several turns into one text, with marks between them."""
    turns = row.prompt()
    parts = _NEMO_TURN.split(turns[-1].content) if len(turns) == 1 else []
    if len(parts) < 3:
        return turns
    row.notes["prompts cut into turns at <extra_id_1>"] += 1
    later = [
        Message("user" if who == "User" else "assistant", text)
        for who, text in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if later[-1].role != "user":
        raise BadRow("bad_turns", "the prompt must end with a user turn, not with one of assistant")
    return (Message("user", parts[0]), *later)


def _read_helpsteer3(row: Row) -> list[Found]:
    """HelpSteer3-preference: overall strength, and each annotator's reasoning."""
    outcome, strength = read_strength(row.get("overall_preference"), "overall_preference")
    people = row.fields.get("individual_preference")
    people = people if isinstance(people, list) else []
    said = [person.get("reasoning") for person in people if isinstance(person, Mapping)]
    sides = (row.answer("response1"), row.answer("response2"), "response1", "response2")
    rationales = tuple(text.strip() for text in said if isinstance(text, str) and text.strip())
    more = {"strength": strength, "rationales": rationales, "category": str(row.fields.get("domain", ""))}
    return ordered(row, outcome, "overall_preference", row.prompt("context"), *sides, **more)


def _read_ranked(row: Row) -> list[Found]:
    """Nectar: answers with ranks (1 is best). Which pairs they make is the source's ``ranking``."""
    prompt, answers = row.prompt(), row.get("answers")
    if not isinstance(answers, list) or not all(
        isinstance(one, Mapping) and {"answer", "rank"} <= set(one) for one in answers
    ):
        raise BadRow("wrong_type", "`answers` must be a list of objects with `answer` and `rank`")
    ranked = sorted(
        (read_number(one["rank"], f"answers.{i}.rank"), i, read_answer(one["answer"], f"answers.{i}", row.notes))
        for i, one in enumerate(answers)
    )
    if row.source.ranking == "all":
        couples = list(itertools.combinations(ranked, 2))
    elif row.source.ranking == "adjacent":
        couples = list(itertools.pairwise(ranked))
    else:
        couples = [(ranked[0], other) for other in ranked[1:]] if ranked else []
    found = []
    for (better, i, chosen), (worse, j, rejected) in couples:
        if better == worse or chosen.strip() == rejected.strip():
            row.notes[_EQUAL] += 1
            continue
        meta = {"item": _item(row, prompt, "id"), "candidate": j, "chosen_candidate": i}
        found.append(Found(prompt, chosen, rejected, (f"answers.{i}", f"answers.{j}"), meta=meta))
    if not found:
        raise BadRow("tie", "no two of the ranked answers differ in rank and text")
    return found


def _read_sharegpt(row: Row) -> list[Found]:
    """ShareGPT: the conversation in one column, both last turns in two others."""
    columns = row.source.columns
    names = (columns.chosen, columns.rejected)
    return [Found(row.prompt("conversations"), row.answer(names[0]), row.answer(names[1]), names)]


def _read_ppe_correctness(row: Row) -> list[Found]:
    """PPE correctness, best of k: the listed pairs of a right and a wrong answer (positions from 0)."""
    name = "sampled_conflict_pairs" if row.has("sampled_conflict_pairs") else "conflict_pairs"
    scores, couples = row.get("scores"), row.get(name)
    if not isinstance(scores, list) or not isinstance(couples, list):
        raise BadRow("wrong_type", f"`scores` and `{name}` must be lists")
    right = [read_number(int(score) if isinstance(score, bool) else score, "scores") for score in scores]
    prompt, found = row.prompt(), []
    who = row.fields.get("model_name")
    item = _item(row, prompt, "question_id") + (f"/{who}" if isinstance(who, str) else "")
    for couple in couples:
        if not isinstance(couple, list) or len(couple) != 2 or not all(place in range(len(right)) for place in couple):
            raise BadRow("wrong_type", f"`{name}` has {couple!r:.40}, which is no pair of answers")
        good, bad = sorted(couple, key=lambda place: -right[place])
        names = (f"response_{good + 1}", f"response_{bad + 1}")
        chosen, rejected = row.answer(names[0]), row.answer(names[1])
        if right[good] == right[bad] or chosen.strip() == rejected.strip():
            row.notes[_EQUAL] += 1
            continue
        meta = {"item": item, "candidate": bad, "chosen_candidate": good}
        found.append(Found(prompt, chosen, rejected, names, meta=meta))
    if not found:
        raise BadRow("tie", f"no two answers that `{name}` names differ in score and text")
    return found


def _has(*names: str) -> Any:
    return lambda row: row.has(*names)


LAYOUTS: dict[str, Layout] = {
    "pair": PAIR,
    "shared_prefix": SHARED_PREFIX,
    "labelled": Layout(lambda row: LABELLED.fits(row) and not LAYOUTS["judgebench"].fits(row), LABELLED.read),
    "ranked": Layout(lambda row: isinstance(row.fields.get("answers"), list), _read_ranked),
    "sharegpt": Layout(
        lambda row: row.has("conversations", row.source.columns.chosen, row.source.columns.rejected), _read_sharegpt
    ),
    "best_of": Layout(
        lambda row: chosen_kind(row) == "texts" and (row.has("num_correct") or row.has("subset")), _read_best_of
    ),
    "rm_bench": Layout(
        lambda row: chosen_kind(row) == "texts" and row.has("domain") and not row.has("num_correct"), _read_rm_bench
    ),
    "judgebench": Layout(_has("question", "response_A", "response_B", "label", "pair_id"), _read_judgebench),
    "rmb": Layout(_has("conversation_input", "chosen", "reject"), _read_rmb),
    "rmb_best_of": Layout(_has("conversation_input", "bon_best", "loser_list"), _read_rmb_best_of),
    "pandalm": Layout(_has("instruction", "response1", "response2", "annotator1"), _read_pandalm),
    "auto_j": Layout(_has("prompt", "response 1", "response 2", "label"), _read_auto_j),
    "helpsteer2": Layout(_has("prompt", "response_1", "response_2", "preference_strength"), _read_helpsteer2),
    "helpsteer3": Layout(_has("context", "response1", "response2", "overall_preference"), _read_helpsteer3),
    "ppe_correctness": Layout(
        lambda row: (
            row.has("scores", "response_1") and (row.has("conflict_pairs") or row.has("sampled_conflict_pairs"))
        ),
        _read_ppe_correctness,
    ),
}
