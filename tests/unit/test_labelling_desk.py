"""Who gets what, and that the journal holds it: through kills, torn lines, a full disk, and labels sent twice."""

from __future__ import annotations

import json
import random
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.errors import DataError, RunDirectoryError
from genrm_rl.labelling.book import JOURNAL, TOKENS, Book, read_desk
from genrm_rl.labelling.desk import Desk
from genrm_rl.labelling.types import CHOICES, Label, State, Task
from genrm_rl.preferences.types import Message

TASKS = [Task.create((Message("user", f"question {n}"),), "yes", "no", name=f"c{n}", doubt=n / 10) for n in range(6)]
ONE = LabellingConfig()
THREE = LabellingConfig(annotators=3, overlap=0.5, lease=100)


def open_book(folder: Path, config: LabellingConfig = THREE) -> Book:
    return Book(folder, TASKS, config, 0)


def say(book: Book, annotator: str, choice: str, now: float = 0.0) -> Task:
    """What this person is shown, labelled."""
    task = book.show(annotator, now)
    assert task is not None
    book.say(Label(task.id, annotator, choice, at=now))  # type: ignore[arg-type]
    return task


def test_one_person_gets_every_comparison_once_the_most_doubtful_first(tmp_path):
    with open_book(tmp_path, ONE) as book:
        assert [say(book, "p1", "a").name for _ in TASKS] == ["c5", "c4", "c3", "c2", "c1", "c0"]
        assert book.show("p1", 0) is None and book.desk.enough


def test_what_somebody_looks_at_is_not_given_to_others_until_their_time_is_over(tmp_path):
    with open_book(tmp_path, THREE.model_copy(update={"overlap": 0.0})) as book:
        first = book.show("p1", 0)
        assert book.show("p1", 50) == first, "the page is loaded again"
        assert book.show("p2", 50) != first
    with open_book(tmp_path, THREE.model_copy(update={"overlap": 0.0})) as book:
        assert book.show("p3", 60) != first, "also after a kill"
        assert book.show("p3", 60) is not None
        say(book, "p2", "a", 60)
        assert book.show("p2", 101) == first
        book.say(Label(first.id, "p1", "b", at=102))  # late, and kept all the same
        assert [label.annotator for label in book.desk.labels(first.id)] == ["p1"]


def test_the_third_person_comes_before_everything_else(tmp_path):
    config = THREE.model_copy(update={"overlap": 1.0})
    with open_book(tmp_path, config) as book:
        disputed = say(book, "p1", "a")
        assert say(book, "p2", "b") == disputed
        assert book.desk.outcome(disputed.id).state is State.OPEN
        assert book.show("p3", 0) == disputed and book.show("p1", 0) != disputed
        say(book, "p3", "b")
        assert book.desk.outcome(disputed.id).word == "b"


def test_undo_gives_the_comparison_back_and_opens_it_again(tmp_path):
    with open_book(tmp_path, ONE) as book:
        for _ in TASKS:
            last = say(book, "p1", "a")
        assert book.desk.enough and book.desk.last("p1") == last.id
        assert book.take_back(last.id, "p1", 1).choice == "a"
        assert book.take_back(last.id, "p1", 1) is None, "undone once, however often it is sent"
        assert not book.desk.enough and book.show("p1", 1) == last
        say(book, "p1", "tie", 2)
        assert book.desk.outcome(last.id).word == "tie"
        before = len(book.desk.by("p1"))
    with open_book(tmp_path, ONE) as book:
        assert len(book.desk.by("p1")) == before and book.desk.outcome(last.id).word == "tie"


def test_who_takes_a_label_back_may_give_another_also_where_others_have_decided(tmp_path):
    with open_book(tmp_path, THREE.model_copy(update={"overlap": 1.0})) as book:
        task = say(book, "p1", "a")
        for annotator, choice in (("p2", "b"), ("p3", "a")):
            say(book, annotator, choice)
        book.take_back(task.id, "p2", 1)
        assert book.desk.outcome(task.id).word == "a" and book.show("p2", 1) == task


def test_a_label_sent_twice_counts_once_and_another_word_needs_an_undo(tmp_path):
    with open_book(tmp_path, ONE) as book:
        label = Label(TASKS[0].id, "p1", "a", "because", at=1.0)
        assert book.say(label) and not book.say(label)
        with pytest.raises(DataError, match="undo that first"):
            book.say(Label(TASKS[0].id, "p1", "b"))
        with pytest.raises(DataError, match="no comparison elsewhere"):
            book.say(Label("elsewhere", "p1", "a"))
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert [json.loads(line)["choice"] for line in lines] == ["a"]


def test_a_line_that_a_kill_cut_off_is_dropped_and_everything_before_it_stays(tmp_path):
    with open_book(tmp_path, ONE) as book:
        say(book, "p1", "a")
        say(book, "p1", "b")
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"event": "label", "task": "')
    with open_book(tmp_path, ONE) as book:
        assert [label.choice for label in book.desk.by("p1")] == ["a", "b"]
        say(book, "p1", "tie")
    assert (tmp_path / JOURNAL).read_bytes().startswith(whole)
    assert read_desk(tmp_path, TASKS, ONE, 0).settled_count == 3


@pytest.mark.parametrize("line", ["rubbish", "[]", '{"event": "label"}', '{"event": "x", "task": 1, "annotator": 1}'])
def test_a_broken_line_within_the_journal_is_named(tmp_path, line):
    with open_book(tmp_path, ONE) as book:
        say(book, "p1", "a")
    with open(tmp_path / JOURNAL, "a") as handle:
        handle.write(line + "\n")
    with pytest.raises(RunDirectoryError, match=r"journal\.jsonl:3 is no event of a labelling desk"):
        open_book(tmp_path, ONE)


def test_a_second_process_is_refused_while_the_first_labels(tmp_path):
    with open_book(tmp_path), pytest.raises(RunDirectoryError, match="people label at .* already"):
        open_book(tmp_path)
    open_book(tmp_path).journal.close()


def test_a_label_that_finds_the_disk_full_is_refused_whole_and_taken_when_there_is_room(tmp_path):
    with open_book(tmp_path, ONE) as book:
        say(book, "p1", "a")
        size = (tmp_path / JOURNAL).stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, limits[1]))
        try:
            with pytest.raises(RunDirectoryError, match="can't be written .* the label was not kept"):
                book.say(Label(TASKS[0].id, "p1", "a"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / JOURNAL).stat().st_size == size and book.desk.settled_count == 1
        assert book.say(Label(TASKS[0].id, "p1", "a"))
    assert read_desk(tmp_path, TASKS, ONE, 0).settled_count == 2


def test_links_stay_the_same_and_are_for_this_account_only(tmp_path):
    with open_book(tmp_path) as book:
        tokens = book.tokens()
    assert len(set(tokens.values())) == 3 and all(len(token) >= 32 for token in tokens.values())
    assert (tmp_path / TOKENS).stat().st_mode & 0o077 == 0 and (tmp_path / JOURNAL).stat().st_mode & 0o077 == 0
    with open_book(tmp_path, THREE.model_copy(update={"annotators": 4})) as book:
        more = book.tokens()
        assert more.items() > tokens.items() and len(more) == 4


def test_labels_of_comparisons_that_left_the_file_are_counted_and_not_used(tmp_path):
    with open_book(tmp_path, ONE) as book:
        gone = say(book, "p1", "a")
    rest = [task for task in TASKS if task != gone]
    desk = read_desk(tmp_path, rest, ONE, 0)
    assert desk.unknown == 1 and desk.settled_count == 0


def test_a_share_can_be_enough():
    desk = Desk(TASKS, LabellingConfig(enough=0.5), 0)
    for task in TASKS[:3]:
        assert not desk.enough
        desk.apply({"event": "label", "task": task.id, "annotator": "p1", "choice": "a", "at": 0.0})
    assert desk.enough and desk.needed == 3


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from((*CHOICES, "undo", "look"))), max_size=120))
def test_whatever_people_do_nobody_labels_twice_no_comparison_is_asked_too_often_and_replay_is_the_same(moves):
    config = LabellingConfig(annotators=4, overlap=0.5, lease=1e9)
    desk, events = Desk(TASKS, config, 3), []

    def happen(event):
        events.append(event)
        desk.apply(event)

    for now, (person, move) in enumerate(moves):
        who = {"annotator": f"p{person}", "at": float(now)}
        if move == "undo":
            if (last := desk.last(who["annotator"])) is not None:
                happen({"event": "undo", "task": last, **who})
            continue
        task = desk.choose(who["annotator"], now)
        if task is not None and move == "look":
            happen({"event": "shown", "task": task.id, **who})
        elif task is not None:
            assert desk.label(task.id, who["annotator"]) is None
            happen({"event": "label", "task": task.id, "choice": move, **who})
    again = Desk(TASKS, config, 3)
    for event in events:
        again.apply(event)
    assert again.outcomes() == desk.outcomes()
    assert [again.labels(task.id) for task in TASKS] == [desk.labels(task.id) for task in TASKS]
    undone = {event["task"] for event in events if event["event"] == "undo"}
    for task in TASKS:
        assert len(desk.labels(task.id)) <= (4 if task.id in undone else 3)
    assert desk.settled_count == sum(outcome.state is not State.OPEN for outcome in desk.outcomes().values())


@given(st.integers(0, 10_000))
def test_a_desk_always_comes_to_an_end(seed):
    draw, desk = random.Random(seed), Desk(TASKS, THREE, seed)
    for now in range(200):
        who = f"p{draw.randint(1, 3)}"
        if (task := desk.choose(who, now)) is not None:
            choice = draw.choice(CHOICES)
            desk.apply({"event": "label", "task": task.id, "annotator": who, "choice": choice, "at": now})
    assert desk.enough and desk.settled_count == len(TASKS)
