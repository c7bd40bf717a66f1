"""Files of comparisons and labels: what is read, what is written, and that one becomes the other without loss."""

from __future__ import annotations

import json
import re
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.errors import DataError
from genrm_rl.labelling.book import Book
from genrm_rl.labelling.formats import QUESTION, REASON, for_tasks, read_tasks, user_id, write_text
from genrm_rl.labelling.types import Label
from genrm_rl.preferences.sources import load_source

ROWS = [
    {"id": "c0", "prompt": "add 1 2", "answer_a": "3", "answer_b": "4", "p_a": 0.5, "consistent": False},
    {"id": "c1", "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
     "answer_a": "Hello", "answer_b": "What?", "p_a": 0.9, "consistent": True},
    {"id": "c2", "prompt": '[{"role": "user", "content": "is this JSON?"}]', "answer_a": "yes\n", "answer_b": "no"},
    {"id": "c3", "prompt": "add 2 2", "answer_a": "4", "answer_b": "5", "known_answer": "4"},
]  # fmt: skip
SAID = {
    "c0": [("p1", "a", "[A] adds up", False), ("p2", "a", "[B] adds up, [A] does not", True)],
    "c1": [("p1", "tie", "", False)],
    "c2": [("p1", "b", "no, it is a text", True), ("p2", "skip", "", False)],
    "c3": [("p1", "skip", "both wrong", False)],
}
TWO = LabellingConfig(annotators=2)


def written(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def book(tmp_path: Path):
    tasks, _ = read_tasks(written(tmp_path / "comparisons.jsonl", ROWS))
    with Book(tmp_path / "desk", tasks, TWO, 0) as found:
        for task in tasks:
            for who, choice, reason, swapped in SAID[task.name]:
                found.say(Label(task.id, who, choice, reason, 2.5, 9.0, swapped))
        yield found


def test_a_file_of_comparisons_is_read_as_it_stands(tmp_path):
    tasks, labels = read_tasks(written(tmp_path / "c.jsonl", ROWS))
    assert [task.name for task in tasks] == ["c0", "c1", "c2", "c3"] and labels == []
    assert [task.doubt for task in tasks] == [2.0, pytest.approx(0.2), None, None]
    assert len(tasks[1].prompt) == 2 and tasks[2].prompt[0].content == ROWS[2]["prompt"], "a text stays that text"
    assert tasks[3].guide.known_answer == "4" and tasks[2].answer_a == "yes\n"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": "x", "answer_a": "1"}], r":1: `answer_b` is missing \(found prompt, answer_a\); mend the file"),
        ([ROWS[0], "{"], ":2: .*not valid JSON"),
        ([ROWS[0], ROWS[1], ROWS[0]], ":3: comparison c0 was on line 1 already"),
        ([{"prompt": "x", "answer_a": "1", "answer_b": 2}], "must be strings"),
        ([{"prompt": "", "answer_a": "1", "answer_b": "2"}], "the prompt is empty"),
        ([{"prompt": "x", "answer_a": "\ud800", "answer_b": "2"}], "half a surrogate pair"),
        ([ROWS[0] | {"p_a": "high"}], "`p_a` is 'high', not a number"),
        ([ROWS[0] | {"label": "c"}], "label 'c' is none of a, b, tie, skip"),
        ([ROWS[0] | {"labels": [{"choice": "a"}]}], "needs `annotator` and `choice`"),
        ([], "has no comparisons"),
    ],
)
def test_a_comparison_that_can_not_be_shown_is_named_by_its_line(tmp_path, rows, says):
    with pytest.raises(DataError, match=says):
        read_tasks(written(tmp_path / "c.jsonl", rows))


def everything(labels: list[Label]) -> set[tuple[str, str, str]]:
    return {(label.task, label.annotator, label.choice) for label in labels}


@pytest.mark.parametrize("form", ["jsonl", "argilla", "label_studio"])
def test_what_is_written_is_read_again_with_every_label(form, book, tmp_path):
    path = tmp_path / ("out.jsonl" if form == "jsonl" else "out.json")
    path.write_text(write_text(form, book.desk), encoding="utf-8")
    tasks, labels = read_tasks(path)
    mine = [label for task in book.desk.tasks for label in book.desk.labels(task)]
    if form == "argilla":
        mine = [Label(label.task, user_id(label.annotator), label.choice) for label in mine]
    assert [(task.id, task.name, task.prompt) for task in tasks] == [
        (task.id, task.name, task.prompt) for task in book.desk.tasks.values()
    ]
    assert everything(labels) == everything(mine) and len(labels) == len(mine)
    if form == "jsonl":
        assert labels == mine


def test_our_own_rows_say_what_became_of_each_comparison(book):
    rows = [json.loads(line) for line in write_text("jsonl", book.desk).splitlines()]
    assert [row["label"] for row in rows] == ["a", "tie", "b", "skip"]
    assert rows[0]["labels"][1] == {
        "annotator": "p2", "choice": "a", "reason": "[B] adds up, [A] does not", "seconds": 2.5, "at": 9.0,
        "swapped": True,
    }  # fmt: skip


def test_pairs_are_read_as_preferences_with_the_reasons_of_those_who_chose_the_winner(book, tmp_path):
    (tmp_path / "pairs.jsonl").write_text(write_text("pairs", book.desk), encoding="utf-8")
    source = SourceConfig(path="pairs.jsonl", rationales="pairs.jsonl")
    pairs, report = load_source(source, DataConfig(root=str(tmp_path)), seed=0)
    found = {pair.meta["row_id"]: pair for pair in pairs}
    assert set(found) == {"c0", "c2"} and found["c0"].label_source == "human", "a tie is counted, and no win of either"
    assert found["c0"].rationales == ("[chosen] adds up", "[chosen] adds up, [rejected] does not")
    assert (found["c2"].chosen, found["c2"].rationales) == ("no", ("no, it is a text",))


def test_labels_from_elsewhere_belong_to_texts_and_not_to_places(book, tmp_path):
    exchanged = {"prompt": "add 1 2", "answer_a": "4", "answer_b": "3", "labels": [{"annotator": "x", "choice": "a"}]}
    theirs, labels = read_tasks(written(tmp_path / "theirs.jsonl", [exchanged]))
    (label,) = for_tasks(labels, theirs, list(book.desk.tasks.values()), tmp_path)
    assert book.desk.tasks[label.task].name == "c0" and label.choice == "b", "the answer `4` is our answer b"
    theirs, labels = read_tasks(written(tmp_path / "other.jsonl", [exchanged | {"id": "z", "answer_a": "5"}]))
    with pytest.raises(DataError, match="comparison z is none of those that are labelled here"):
        for_tasks(labels, theirs, list(book.desk.tasks.values()), tmp_path)


def test_argillas_records_have_uuids_and_the_shape_of_its_own_exports(book):
    record = json.loads(write_text("argilla", book.desk))[0]
    assert set(record) == {"id", "fields", "metadata", "suggestions", "responses", "vectors"}
    assert record["fields"] == {"prompt": "add 1 2", "answer_a": "3", "answer_b": "4"}
    (first, second) = record["responses"][QUESTION]
    assert uuid.UUID(first["user_id"]) != uuid.UUID(second["user_id"]) and first["value"] == "a"
    assert [each["value"] for each in record["responses"][REASON]] == ["[A] adds up", "[A] adds up, [B] does not"]
    assert user_id(first["user_id"]) == first["user_id"], "people of an import keep their ids"


def test_a_label_studio_export_is_read_with_its_people_its_skips_and_its_pairwise_choices(tmp_path):
    data = {"prompt": "add 1 2", "answer_a": "3", "answer_b": "4"}
    pairwise = {"from_name": "pw", "to_name": "answer_a,answer_b", "type": "pairwise", "value": {"selected": "right"}}
    annotations = [
        {"id": 7, "completed_by": 3, "was_cancelled": False, "lead_time": 4.2, "result": [pairwise]},
        {"id": 8, "completed_by": {"id": 4, "email": "x@y.org"}, "was_cancelled": True, "result": []},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([{"id": 12, "data": data, "annotations": annotations, "predictions": [], "meta": {}}]))
    (task,), labels = read_tasks(path)
    assert task.name == "12"
    assert [(each.annotator, each.choice, each.seconds) for each in labels] == [
        ("3", "b", 4.2),
        ("x@y.org", "skip", None),
    ]


def test_the_labelling_config_of_the_docs_fits_the_tasks_that_are_written(book):
    page = (Path(__file__).parents[2] / "docs/labelling.md").read_text(encoding="utf-8")
    (config,) = re.findall(r"```xml\n(.*?)```", page, re.DOTALL)
    view = ET.fromstring(config)
    task = json.loads(write_text("label_studio", book.desk))[0]
    shown = {each.get("name"): each.get("value") for each in view.iter("Text")}
    assert {f"${name}" for name in ("prompt", "answer_a", "answer_b")} == set(shown.values())
    controls = {each.get("name"): each for each in view.iter() if each.get("toName")}
    for part in task["annotations"][0]["result"]:
        assert controls[part["from_name"]].get("toName") == part["to_name"] and part["to_name"] in shown
        assert controls[part["from_name"]].tag.lower() == part["type"]
    assert [each.get("value") for each in view.iter("Choice")] == ["a", "b", "tie"]
