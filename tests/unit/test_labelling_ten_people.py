"""Ten people label 300 comparisons at once at a real desk that is killed in the middle: nothing is lost or doubled, the
agreement is that of a hand count, and the desk closes by itself."""

from __future__ import annotations

import itertools
import signal
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.labelling.book import read_desk
from genrm_rl.labelling.desk import counted
from genrm_rl.labelling.formats import read_tasks
from genrm_rl.preferences.types import content_hash
from tests.annotators import PATIENCE_SECONDS, DeskProcess, Person

pytestmark = pytest.mark.drill
COMPARISONS, PEOPLE, KILL_AT = 300, 10, 150
SETTINGS = {"annotators": PEOPLE, "overlap": 0.2}


def opinion(annotator: str, prompt: str) -> str:
    """What this person thinks: mostly that `yes` is better, and now and then something else."""
    roll = int(content_hash(annotator, prompt), 16) % 20
    return {0: "tie", 1: "skip"}.get(roll, "no" if roll < 5 else "yes")


def think(annotator: str, task: dict[str, Any]) -> tuple[str, str]:
    """The same, as the side that is shown, with a reason."""
    thought = opinion(annotator, task["prompt"][0]["content"])
    side = thought if thought in ("tie", "skip") else "a" if task["a"].startswith(thought) else "b"
    return side, f"{annotator}: {thought}"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory):
    """The people, the rows that the desk wrote, its tasks, and its last words."""
    folder = tmp_path_factory.mktemp("ten")
    rows = [
        {"id": f"c{n}", "prompt": f"q{n}", "answer_a": f"yes {n}", "answer_b": f"no {n}"} for n in range(COMPARISONS)
    ]
    desk = DeskProcess(folder, rows, SETTINGS)
    process = desk.start()
    people = [Person(name, desk.address, token, think) for name, token in desk.tokens().items()]
    try:
        with ThreadPoolExecutor(PEOPLE) as pool:
            working = [pool.submit(person.work) for person in people]
            while sum(len(person.kept) for person in people) < KILL_AT and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            at_kill = sum(len(person.kept) for person in people)
            process = desk.start()
            for each in working:
                each.result()
        words, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, words
    assert KILL_AT <= at_kill < COMPARISONS, "it was killed in the middle"
    tasks, _ = read_tasks(desk.comparisons)
    return people, desk.rows(), read_desk(desk.folder, tasks, LabellingConfig(**SETTINGS), 0), words


def in_words(choice: str) -> str:
    return {"a": "yes", "b": "no"}.get(choice, choice)


def test_every_label_that_a_person_was_told_is_kept_is_there_once_and_no_other(labelled):
    people, out, desk, _ = labelled
    ids = {task.name: task.id for task in desk.tasks.values()}
    kept = Counter(
        (ids[row["id"]], each["annotator"], in_words(each["choice"])) for row in out for each in row["labels"]
    )
    questions = {task.id: task.prompt[0].content for task in desk.tasks.values()}
    told = Counter((task, who.name, opinion(who.name, questions[task])) for who in people for task in who.kept)
    assert kept == told and set(kept.values()) == {1}
    assert all(person.kept for person in people), "all ten took part"
    for row in out:
        for each in row["labels"]:
            assert each["reason"] == f"{each['annotator']}: {in_words(each['choice'])}"


def test_as_many_people_saw_a_comparison_as_the_rules_want(labelled):
    _, out, _, _ = labelled
    numbers = Counter(len(row["labels"]) for row in out)
    disputed = [row for row in out if len({e["choice"] for e in row["labels"][:2]} - {"skip"}) == 2]
    assert numbers[1] == COMPARISONS - 60 and numbers[2] + numbers[3] == 60
    assert numbers[3] == len(disputed) > 0 and all(len(row["labels"]) == 3 for row in disputed)
    for row in out:
        votes = Counter(each["choice"] for each in row["labels"] if each["choice"] != "skip")
        majority = [choice for choice, count in votes.items() if 2 * count > votes.total()]
        assert row["label"] == (majority[0] if majority else "disputed" if votes else "skip")


def test_the_agreement_is_that_of_a_hand_count(labelled):
    _, out, desk, words = labelled
    units = []
    for row in out:
        said = [(each["annotator"], each["choice"]) for each in row["labels"] if each["choice"] != "skip"][:2]
        if len(said) == 2:
            units.append(said)
    same = sum(one[1] == other[1] for one, other in units)
    by_pair = defaultdict(list)
    for unit in units:
        (one, first), (other, second) = sorted(unit)
        by_pair[one, other].append((first, second))
    kappas = {}
    for pair, both in by_pair.items():
        left, right = (Counter(words) for words in zip(*both, strict=True))
        chance = sum(left[word] * right[word] for word in left) / len(both) ** 2
        seen = sum(first == second for first, second in both) / len(both)
        kappas[pair] = (seen - chance) / (1 - chance) if len({*left, *right}) > 1 else None
    values = Counter(word for unit in units for _, word in unit)
    n = values.total()
    expected = sum(values[one] * values[other] for one, other in itertools.permutations(values, 2)) / (n * (n - 1))
    alpha = 1 - ((len(units) - same) / len(units)) / expected
    found = counted(desk)["agreement"]
    assert (found["comparisons"], found["agree"]) == (len(units), same)
    assert found["krippendorff_alpha"] == pytest.approx(alpha, abs=1e-12)
    assert {tuple(row["annotators"]): row["kappa"] for row in found["cohen"]} == {
        pair: None if kappa is None else pytest.approx(kappa, abs=1e-12) for pair, kappa in kappas.items()
    }
    assert f"agreement on {len(units)} that two people labelled: {same} the same" in words
    assert f"Krippendorff's alpha {alpha:.3f}" in " ".join(words.split())


def test_the_desk_closed_by_itself_when_everything_was_settled(labelled):
    _, _, desk, words = labelled
    assert desk.enough and desk.settled_count == COMPARISONS and "written: " in words
