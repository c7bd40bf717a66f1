"""Comparisons and labels as files: our own JSON lines, pairs to learn from, Argilla's records, Label Studio's tasks."""

from __future__ import annotations

import json
import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from genrm_rl.errors import DataError
from genrm_rl.labelling.desk import Desk
from genrm_rl.labelling.reasons import as_of_file, reasons_for
from genrm_rl.labelling.rules import doubt_of
from genrm_rl.labelling.types import CHOICES, FLIPPED, Choice, Label, State, Task
from genrm_rl.preferences.files import read_file
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.turns import BadRow, check_encodable, check_prompt, read_prompt
from genrm_rl.preferences.types import Message
from genrm_rl.preferences.validation import RawRow

Form = Literal["jsonl", "pairs", "argilla", "label_studio"]
FILE_ANNOTATOR = "file"  # of a label that a file gives without saying whose it is
SIDES: dict[str, Choice] = {"left": "a", "right": "b"}  # what Label Studio's Pairwise says
QUESTION, REASON = "label", "reason"  # names of the questions, in Argilla and in Label Studio
ANSWERS = ("answer_a", "answer_b")
TURN = {"role", "content"}


def read_tasks(path: Path) -> tuple[list[Task], list[Label]]:
    """The comparisons of a file and the labels that it has: rows with ``prompt``, ``answer_a`` and ``answer_b`` (and
    ``labels``, or ``label``), Argilla's records with these fields, or Label Studio's tasks with these data.

    Raises DataError, naming file and line, for rows that can't be shown, and for a comparison that is there twice.
    """
    tasks: list[Task] = []
    labels: list[Label] = []
    seen: dict[str, RawRow] = {}
    for row in read_file(path):
        try:
            task, given = _read(row)
            labels += given
        except BadRow as problem:
            raise DataError(f"{row.place}: {problem}; mend the file") from problem
        for key in (task.id, f"name {task.name}"):
            if key in seen:
                raise DataError(f"{row.place}: comparison {task.name} was on line {seen[key].line} already; remove one")
            seen[key] = row
        tasks.append(task)
    if not tasks:
        raise DataError(f"{path} has no comparisons; write one a line, with prompt, answer_a and answer_b")
    return tasks, labels


def for_tasks(labels: Sequence[Label], theirs: Sequence[Task], tasks: Sequence[Task], path: Path) -> list[Label]:
    """``labels`` of a file whose comparisons are ``theirs``, as labels of ``tasks``, also where answers changed places.
    Raises DataError for a label of texts that are not among ``tasks``."""
    by_id = {task.flipped().id: (task.id, True) for task in tasks} | {task.id: (task.id, False) for task in tasks}
    found = []
    for label in labels:
        if label.task not in by_id:
            name = next(task.name for task in theirs if task.id == label.task)
            raise DataError(f"{path}: comparison {name} is none of those that are labelled here; give a file of these")
        task, flipped = by_id[label.task]
        choice = FLIPPED[label.choice] if flipped else label.choice
        found.append(replace(label, task=task, choice=choice, swapped=label.swapped != flipped))
    return found


def write_text(form: Form, desk: Desk) -> str:
    """The file of this form, with all that was said."""
    if form in ("jsonl", "pairs"):
        rows = _pairs(desk) if form == "pairs" else (_own_row(task, desk) for task in desk.tasks.values())
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write: Callable[[Task, Desk], dict[str, Any]] = _argilla_record if form == "argilla" else _studio_task
    return json.dumps([write(task, desk) for task in desk.tasks.values()], ensure_ascii=False, indent=1) + "\n"


def _read(row: RawRow) -> tuple[Task, list[Label]]:
    if row.problem or not isinstance(row.fields, Mapping):
        raise BadRow("unreadable", row.problem or "the row is no object with named fields")
    if isinstance(row.fields.get("fields"), Mapping):
        task = _task(row.fields["fields"], row.fields.get("id"), in_text=True)
        return task, list(_argilla_labels(task, row.fields.get("responses") or {}))
    if isinstance(row.fields.get("data"), Mapping):
        data = row.fields["data"]
        task = _task(data, data.get("id") or row.fields.get("id"), in_text=True)
        return task, list(_studio_labels(task, row.fields.get("annotations") or ()))
    task = _task(row.fields, row.fields.get("id"))
    return task, list(_own_labels(task, row.fields))


def _task(fields: Mapping[str, Any], name: object, *, in_text: bool = False) -> Task:
    """``in_text``: a prompt of several turns may be one text, as :func:`_as_text` writes it."""
    missing = [key for key in ("prompt", *ANSWERS) if key not in fields]
    if missing:
        raise BadRow("missing_field", f"`{missing[0]}` is missing (found {', '.join(list(fields)[:8]) or 'nothing'})")
    prompt = _read_prompt(fields["prompt"], in_text)
    answers = [fields[key] for key in ANSWERS]
    if not all(isinstance(answer, str) for answer in answers):
        raise BadRow("wrong_type", "`answer_a` and `answer_b` must be strings")
    check_encodable(*answers)
    try:
        guide = Guide.of({key: fields[key] or None for key in ("rubric", "known_answer") if key in fields})
    except ValueError as problem:
        raise BadRow("bad_rubric", f"`rubric`: {problem}") from None
    doubt = doubt_of(_number(fields, "p_a"), fields.get("consistent"))
    return Task.create(prompt, *answers, name=str(name or ""), guide=guide, doubt=doubt)


def _read_prompt(value: Any, in_text: bool) -> tuple[Message, ...]:
    """A text is one user turn as it stands."""
    turns = _turns_in(value) if in_text and isinstance(value, str) else None
    if turns is None and isinstance(value, str):
        prompt = (Message("user", value),)
        check_prompt(prompt)
        return prompt
    return read_prompt(turns or value, "prompt", Counter())


def _turns_in(text: str) -> list[Any] | None:
    try:
        found = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    is_turns = isinstance(found, list) and found and all(isinstance(turn, dict) and set(turn) == TURN for turn in found)
    return found if is_turns else None


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not is_number:
        raise BadRow("wrong_type", f"`{name}` is {value!r:.40}, not a number")
    return value


def _choice(value: Any) -> Choice:
    word = str(value).strip().lower()
    if word not in CHOICES:
        raise BadRow("unknown_label", f"label {value!r:.40} is none of {', '.join(CHOICES)}")
    return word  # type: ignore[return-value]


def _own_labels(task: Task, fields: Mapping[str, Any]) -> Iterator[Label]:
    if isinstance(fields.get("labels"), list):
        for each in fields["labels"]:
            if not isinstance(each, Mapping) or not isinstance(each.get("annotator"), str):
                raise BadRow("wrong_type", "an entry of `labels` needs `annotator` and `choice`")
            yield Label(
                task.id,
                each["annotator"],
                _choice(each.get("choice")),
                str(each.get("reason") or ""),
                _number(each, "seconds"),
                _number(each, "at") or 0.0,
                each.get("swapped") is True,
            )
    elif str(fields.get("label") or "").strip():
        yield Label(task.id, FILE_ANNOTATOR, _choice(fields["label"]))


def _own_row(task: Task, desk: Desk) -> dict[str, Any]:
    said = [
        {key: getattr(each, key) for key in ("annotator", "choice", "reason", "seconds", "at", "swapped")}
        for each in desk.labels(task.id)
    ]
    outcome = desk.outcome(task.id)
    return {
        "id": task.name,
        "prompt": _as_list(task.prompt),
        "answer_a": task.answer_a,
        "answer_b": task.answer_b,
        **task.guide.plain(),
        "label": "" if outcome.state is State.OPEN else outcome.word,
        "labels": said,
    }


def _pairs(desk: Desk) -> Iterator[dict[str, Any]]:
    """What a judge can learn from: layout ``pair`` of docs/data.md, which is its own file of ``rationales``."""
    for task in desk.tasks.values():
        outcome = desk.outcome(task.id)
        if outcome.label is None:
            continue
        first, second = (task.answer_b, task.answer_a) if outcome.label == "b" else (task.answer_a, task.answer_b)
        yield {
            "id": task.name,
            "prompt": _as_list(task.prompt),
            "chosen": first,
            "rejected": second,
            "tie": outcome.label == "tie",
            "label_source": "human",
            **task.guide.plain(),
            "rationales": [] if outcome.label == "tie" else reasons_for(desk.labels(task.id), outcome.label),
        }


def _as_text(turns: Sequence[Message]) -> str:
    """A prompt in one field of text: as JSON if it has several turns, or if it looks like that."""
    if len(turns) == 1 and turns[0].role == "user" and _turns_in(turns[0].content) is None:
        return turns[0].content
    return json.dumps(_as_list(turns), ensure_ascii=False)


def _as_list(turns: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _texts(task: Task) -> dict[str, str]:
    return {"prompt": _as_text(task.prompt), "answer_a": task.answer_a, "answer_b": task.answer_b}


def user_id(annotator: str) -> str:
    """Argilla names people by UUIDs: one that is made from the name; a UUID stays what it is."""
    try:
        return str(uuid.UUID(annotator))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"genrm_rl/annotator/{annotator}"))


def _argilla_record(task: Task, desk: Desk) -> dict[str, Any]:
    """As ``Record.to_dict`` of Argilla 2 writes it and ``Record.from_dict`` reads it."""
    labels = desk.labels(task.id)
    said = {
        QUESTION: [{"value": each.choice, "user_id": user_id(each.annotator)} for each in labels],
        REASON: [{"value": as_of_file(each), "user_id": user_id(each.annotator)} for each in labels if each.reason],
    }
    return {
        "id": task.name,
        "fields": _texts(task),
        "metadata": {},
        "suggestions": {},
        "responses": {question: answers for question, answers in said.items() if answers},
        "vectors": {},
    }


def _argilla_labels(task: Task, responses: Mapping[str, Any]) -> Iterator[Label]:
    reasons = {each.get("user_id"): each.get("value") for each in responses.get(REASON) or ()}
    for each in responses.get(QUESTION) or ():
        user = each.get("user_id")
        yield Label(task.id, str(user or FILE_ANNOTATOR), _choice(each.get("value")), str(reasons.get(user) or ""))


def _studio_task(task: Task, desk: Desk) -> dict[str, Any]:
    """A task to import (docs/labelling.md has the labelling config). ``completed_by`` is left out: Label Studio refuses
    people that it does not know, and takes annotations without one as the importer's."""
    annotations = [
        {"result": _studio_result(each), "was_cancelled": each.choice == "skip", "lead_time": each.seconds}
        | {"annotator": each.annotator}
        for each in desk.labels(task.id)
    ]
    return {"data": {"id": task.name, **_texts(task)}, "annotations": annotations, "predictions": []}


def _studio_result(label: Label) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if label.choice != "skip":
        value: dict[str, Any] = {"choices": [label.choice]}
        found.append({"from_name": QUESTION, "to_name": "prompt", "type": "choices", "value": value})
    if label.reason:
        value = {"text": [as_of_file(label)]}
        found.append({"from_name": REASON, "to_name": "prompt", "type": "textarea", "value": value})
    return found


def _studio_labels(task: Task, annotations: Sequence[Mapping[str, Any]]) -> Iterator[Label]:
    for each in annotations:
        who = each.get("annotator") or each.get("completed_by") or FILE_ANNOTATOR
        name = str(who.get("email") or who.get("id")) if isinstance(who, Mapping) else str(who)
        choice: Choice | None = "skip" if each.get("was_cancelled") else None
        reason = ""
        for part in each.get("result") or ():
            value = part.get("value") or {}
            if part.get("type") == "choices" and part.get("from_name") == QUESTION and value.get("choices"):
                choice = choice or _choice(value["choices"][0])
            elif part.get("type") == "pairwise":
                choice = choice or SIDES.get(value.get("selected"))
            elif part.get("type") == "textarea" and part.get("from_name") == REASON:
                text = value.get("text") or ""
                reason = "\n".join(text) if isinstance(text, list) else str(text)
        if choice is not None:
            yield Label(task.id, name, choice, reason, _number(each, "lead_time"))
