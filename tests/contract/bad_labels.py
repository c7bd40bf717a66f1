"""What can be wrong where people label, one function each."""

from __future__ import annotations

import json
from pathlib import Path

from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.labelling.book import JOURNAL, Book
from tests.contract.bad_input_files import BadInput

ROW = {"id": "c1", "prompt": "add 1 2", "answer_a": "3", "answer_b": "4"}
WORDS = ["label", "comparisons.jsonl", "--out", "labels.jsonl"]


def write(folder: Path, *rows: dict[str, str], name: str = "comparisons.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def comparisons_that_do_not_exist(folder: Path) -> BadInput:
    return BadInput(WORDS, ("comparisons.jsonl is neither a file of comparisons",), "check its name")


def labels_without_a_place(folder: Path) -> BadInput:
    write(folder, ROW)
    return BadInput(WORDS[:2], ("--out is missing",), "name the file that the labels of a file go to")


def form_of_labels_that_does_not_exist(folder: Path) -> BadInput:
    write(folder, ROW)
    return BadInput([*WORDS, "--form", "csv"], ("--form csv is no form of labels",), "choose one of jsonl, pairs")


def comparison_without_an_answer(folder: Path) -> BadInput:
    write(folder, ROW, {"prompt": "add 2 2", "answer_a": "4"})
    return BadInput(WORDS, ("comparisons.jsonl:2: `answer_b` is missing",), "mend the file")


def comparison_that_is_there_twice(folder: Path) -> BadInput:
    write(folder, ROW, ROW)
    return BadInput(WORDS, ("comparisons.jsonl:2: comparison c1 was on line 1 already",), "remove one")


def overlap_without_enough_people(folder: Path) -> BadInput:
    write(folder, ROW)
    names = ("desk: overlap 0.2 with disagreement third needs 3 people, and annotators is 2",)
    words = [*WORDS, "--desk.overlap", "0.2", "--desk.annotators", "2"]
    return BadInput(words, names, "raise it, or disagreement to leave_out, or set overlap to 0")


def run_that_is_no_loop(folder: Path) -> BadInput:
    return BadInput(["label", "earlier"], ("runs/earlier is no directory of a loop",), "give one of `genrm-rl loop`")


def labels_of_other_comparisons(folder: Path) -> BadInput:
    write(folder, ROW)
    write(folder, ROW | {"id": "c9", "answer_a": "5", "label": "a"}, name="other.jsonl")
    names = ("other.jsonl: comparison c9 is none of those that are labelled here",)
    return BadInput([*WORDS, "--take", "other.jsonl"], names, "give a file of these")


def address_that_the_desk_can_not_have(folder: Path) -> BadInput:
    write(folder, ROW)
    words = [*WORDS, "--desk.host", "192.0.2.1"]
    return BadInput(words, ("192.0.2.1:8100 can't be listened on",), "choose another port or host for the desk")


def desk_that_is_open_already(folder: Path) -> BadInput:
    write(folder, ROW)
    book = Book(folder / "labels.jsonl.desk", [], LabellingConfig(), 0)
    names = ("people label at labels.jsonl.desk already",)
    return BadInput(WORDS, names, "use that desk, or end it", cleanup=book.journal.close)


def journal_that_was_tampered_with(folder: Path) -> BadInput:
    write(folder, ROW)
    (folder / "labels.jsonl.desk").mkdir()
    (folder / "labels.jsonl.desk" / JOURNAL).write_text("a\n", encoding="utf-8")
    names = (f"labels.jsonl.desk/{JOURNAL}:1 is no event of a labelling desk",)
    return BadInput(WORDS, names, "restore the file, or remove the line")


LABEL_KINDS = (
    comparisons_that_do_not_exist,
    labels_without_a_place,
    form_of_labels_that_does_not_exist,
    comparison_without_an_answer,
    comparison_that_is_there_twice,
    overlap_without_enough_people,
    run_that_is_no_loop,
    labels_of_other_comparisons,
    address_that_the_desk_can_not_have,
    desk_that_is_open_already,
    journal_that_was_tampered_with,
)
