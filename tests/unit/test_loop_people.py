"""A loop that waits for people: the desk opens by itself, what they say becomes pairs and reasons, and nothing of it
needs an engine."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from genrm_rl.closed_loop.before import people_have_come
from genrm_rl.closed_loop.comparisons import NewComparison
from genrm_rl.closed_loop.inputs import LoopInputs
from genrm_rl.closed_loop.judges import LoopJudge
from genrm_rl.closed_loop.label_command import label_source
from genrm_rl.closed_loop.label_file import read_label_file
from genrm_rl.closed_loop.people import desk_of, offer_at_desk, what_people_said
from genrm_rl.closed_loop.preferences import COMPARISONS, label, pairs_file, read_comparisons
from genrm_rl.closed_loop.settings import next_judge_settings
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.labelling.book import TOKENS
from genrm_rl.labelling.types import Label
from genrm_rl.preferences.sources import load_source
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import read_json
from tests.annotators import Person, is_open

QUICKSTART = Path(__file__).resolve().parents[2] / "jobs/configs/quickstart.yaml"
JUDGE = LoopJudge("turn1/bootstrap", None, "base", "star_dpo", "base")
PAIRS = [PreferencePair.create(f"max {n} 3", "3", str(n)) for n in (0, 1, 2, 4)]


def think(name: str, task: dict[str, Any]) -> tuple[str, str]:
    """The 3 is right; but of the question with a 2, nobody can tell."""
    side = "a" if task["a"] == "3" else "b"
    return ("skip", "") if " 2 " in task["prompt"][0]["content"] else (side, f"[{side.upper()}] is the larger")


@pytest.fixture
def start(tmp_path: Path):
    """A loop that has got as far as its comparisons."""
    opened = []

    def make(*words: str) -> tuple[RunDirectory, Console]:
        words = ("--run.root", str(tmp_path), "--labels.desk.linger", "0", *words)
        config = load_config(LoopConfig, QUICKSTART, words)
        run = RunDirectory(config)
        opened.append(run)
        run.claim()

        def compute(directory: Path) -> dict[str, Any]:
            rows = []
            for pair in PAIRS:
                first, second = NewComparison(pair).answers
                turns = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
                rows.append({"prompt": turns, "answer_a": first, "answer_b": second, "category": "", "world": ""})
            (directory / COMPARISONS).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            return {"comparisons": len(rows), "questions": len(rows), "left_out": {}}

        run.stage("turn1/preferences/comparisons", compute)
        return run, Console(file=io.StringIO(), width=200)

    yield make
    for run in opened:
        run.close()


def people_come(run: RunDirectory, port: int, most: int | None = None) -> threading.Thread:
    """Everybody who has a link labels as soon as the desk is open."""

    def come() -> None:
        while not is_open(f"http://127.0.0.1:{port}"):
            pass
        tokens = json.loads((run.path / "turn1/desk" / TOKENS).read_text())
        for name, token in tokens.items():
            Person(name, f"http://127.0.0.1:{port}", token, think).work(most)
        if most is not None:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=come)
    thread.start()
    return thread


def desk_words(port: int) -> tuple[str, ...]:
    return ("--labels.source", "people", "--labels.desk.active", "false", "--labels.desk.port", str(port))


def test_the_loop_waits_at_the_desk_and_goes_on_with_what_people_said(start):
    port = free_port()
    run, console = start(*desk_words(port))
    assert label(run, 1, JUDGE, LoopInputs(run.config), console) is None, "nobody has said anything"
    people = people_come(run, port)
    assert people_have_come(run, 1, console)
    people.join()
    said = console.file.getvalue()
    assert f"p1  http://127.0.0.1:{port}/#token=" in said and "the loop goes on by itself" in said
    facts = label(run, 1, JUDGE, LoopInputs(run.config), console)
    assert facts["labelled"] == {"human": 3} and facts["unlabelled"] == {"skipped": 1} and facts["reasons"] == 3
    assert facts["desk"]["annotators"]["p1"]["labels"] == 4 and facts["judge"] is None
    assert people_have_come(run, 1, console), "and does not ask again"


def test_reasons_reach_the_next_judge_with_the_pairs_that_they_belong_to(start):
    port = free_port()
    run, console = start(*desk_words(port))
    label(run, 1, JUDGE, LoopInputs(run.config), console)
    people = people_come(run, port)
    people_have_come(run, 1, console)
    people.join()
    label(run, 1, JUDGE, LoopInputs(run.config), console)
    files = {"turn 1": pairs_file(1)}
    settings = next_judge_settings(run.config, run.path, "turn1/judge", files, ["turn 1"])
    pairs, _ = load_source(settings.data.train[-1], settings.data, seed=0)
    assert len(pairs) == 3 and {pair.chosen for pair in pairs} == {"3"}
    assert {pair.rationales for pair in pairs} == {("[chosen] is the larger",)}
    assert {pair.label_source for pair in pairs} == {"human"}
    without = next_judge_settings(run.config, run.path, "turn1/judge", files)
    assert without.data.train[-1].rationales is None


def test_ctrl_c_while_people_label_keeps_everything_and_says_how_to_go_on(start):
    port = free_port()
    run, console = start(*desk_words(port))
    label(run, 1, JUDGE, LoopInputs(run.config), console)
    people = people_come(run, port, most=2)
    with pytest.raises(KeyboardInterrupt):
        people_have_come(run, 1, console)
    people.join()
    said = console.file.getvalue()
    assert "2 of 4 comparisons are settled, every label is kept; the links work again after: " in said
    assert len(desk_of(run.path, run.config, 1).read().by("p1")) == 2
    assert read_json(run.path / "loop.json")["status"] == "waiting for labels"
    assert "People label at the desk" in (run.path / "report.html").read_text()


def test_a_share_of_the_comparisons_can_be_enough_and_the_judge_labels_none_of_the_others(start):
    port = free_port()
    run, console = start(*desk_words(port), "--labels.desk.enough", "0.5")
    label(run, 1, JUDGE, LoopInputs(run.config), console)
    people = people_come(run, port)
    assert people_have_come(run, 1, console)
    people.join()
    facts = label(run, 1, JUDGE, LoopInputs(run.config), console)
    assert facts["unlabelled"]["not_asked"] == 2


def test_what_the_judge_is_unsure_of_is_offered_first_and_its_opinion_is_not_shown(start):
    run, console = start(*desk_words(free_port()), "--labels.desk.active", "true")
    comparisons = read_comparisons(run, 1)
    judgments = {
        each.id: Judgment(each.id, Verdict.PREFERS_A, p_a, None, None, consistent, 2)
        for each, p_a, consistent in zip(comparisons, (0.99, 0.6, 0.9, 0.8), (True, True, False, True), strict=True)
    }
    offer_at_desk(run, 1, comparisons, judgments)
    with desk_of(run.path, run.config, 1).open() as book:
        order = []
        while (task := book.show("p1", 0.0)) is not None:
            order.append(task.name)
            book.say(Label(task.id, "p1", "tie"))
    assert order == [comparisons[index].id for index in (2, 1, 3, 0)]
    assert set(what_people_said(run, 1, comparisons).labels.values()) == {"tie"}


def test_a_loop_that_waits_for_a_file_takes_labels_of_the_desk_too_and_the_file_wins(start, tmp_path):
    run, console = start("--labels.source", "human")
    comparisons = read_comparisons(run, 1)
    assert not people_have_come(run, 1, console)
    assert f"or label on a page with `genrm-rl label {run.path}`" in console.file.getvalue()
    with desk_of(run.path, run.config, 1).open() as book:
        for task in list(book.desk.tasks.values())[:3]:
            book.say(Label(task.id, "p1", "a"))
    assert what_people_said(run, 1, comparisons) is None, "one is open"
    path = run.path / "turn1/label_me.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["label"], rows[3]["label"] = "b", "skip"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_label_file(path, comparisons).keys() == {comparisons[0].id, comparisons[3].id}
    said = what_people_said(run, 1, comparisons)
    assert [said.labels[each.id] for each in comparisons] == ["b", "a", "a", "skip"]


def test_the_command_opens_the_desk_of_the_waiting_turn_and_takes_labels_given_elsewhere(start, tmp_path):
    run, console = start(*desk_words(free_port()))
    label(run, 1, JUDGE, LoopInputs(run.config), console)
    out, said = tmp_path / "argilla.json", Console(file=io.StringIO(), width=200)
    label_source(str(run.path), [], out, "argilla", [], False, said)
    records = json.loads(out.read_text())
    for record in records:
        record["responses"] = {"label": [{"value": "a", "user_id": "7f9b2a4e-0c59-4a44-9a3b-0c6a7d5f1e10"}]}
    out.write_text(json.dumps(records))
    label_source(str(run.path), ["--desk.port", "0"], None, "jsonl", [out], True, said)
    assert "4 new labels" in said.file.getvalue() and "labels of 4 comparisons: 4 a" in said.file.getvalue()
    assert label(run, 1, JUDGE, LoopInputs(run.config), console)["labelled"] == {"human": 4}
    with pytest.raises(DataError, match="turn 1 of .* is labelled already"):
        label_source(str(run.path), [], None, "jsonl", [], True, said)
    label_source(str(run.path), [], tmp_path / "pairs.jsonl", "pairs", [], False, said)
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 4
    assert yaml.safe_load((run.path / "config.yaml").read_text())["labels"]["source"] == "people"


def test_a_loop_that_has_no_comparisons_yet_has_no_desk(start, tmp_path):
    run, console = start(*desk_words(free_port()))
    with pytest.raises(DataError, match="has no comparisons for people yet|is no directory of a loop"):
        label_source(str(run.path), [], None, "jsonl", [], True, console)
