"""The rules of the labelling desk: order, overlap, sides, third people, agreement, and what becomes of a reason."""

from __future__ import annotations

import pytest

from genrm_rl.config.labelling import LabelConfig, LabellingConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import ConfigError
from genrm_rl.labelling.agreement import agreement, cohen_kappa, krippendorff_alpha
from genrm_rl.labelling.reasons import as_of_file, reasons_for, told
from genrm_rl.labelling.rules import doubt_of, in_order, labelled_twice, settled, shown_swapped
from genrm_rl.labelling.types import Label, State, Task
from genrm_rl.preferences.types import Message

TEN = LabellingConfig(annotators=10, overlap=0.2)


def task(number: int, doubt: float | None = None) -> Task:
    return Task.create((Message("user", f"question {number}"),), "yes", "no", name=f"c{number}", doubt=doubt)


def said(words: str) -> list[Label]:
    """`a b` is what p1 and p2 said."""
    choices = [{"t": "tie", "s": "skip"}.get(word, word) for word in words.split()]
    return [Label("t", f"p{number}", choice) for number, choice in enumerate(choices, start=1)]


@pytest.mark.parametrize(
    ("words", "wanted", "third", "left_out"),
    [
        ("", 1, "open", "open"),
        ("a", 1, "a", "a"),
        ("s", 1, "skip", "skip"),
        ("t", 1, "tie", "tie"),
        ("a", 2, "open", "open"),
        ("a a", 2, "a", "a"),
        ("a s", 2, "a", "a"),  # who can't tell does not contradict
        ("s s", 2, "skip", "skip"),
        ("a b", 2, "open", "disputed"),
        ("a t", 2, "open", "disputed"),
        ("a b b", 2, "b", "disputed"),
        ("a b t", 2, "disputed", "disputed"),
        ("a b s", 2, "disputed", "disputed"),
        ("a b", 1, "open", "disputed"),  # the second label came although one was wanted
    ],
)
def test_a_comparison_on_which_two_people_disagree_goes_to_a_third_or_is_left_out(words, wanted, third, left_out):
    assert settled(said(words), wanted, TEN).word == third
    assert settled(said(words), wanted, TEN.model_copy(update={"disagreement": "leave_out"})).word == left_out


def test_a_dispute_is_not_kept_open_for_a_third_person_who_does_not_exist():
    assert settled(said("a b"), 2, LabellingConfig(annotators=2)).state is State.DISPUTED


def test_what_the_judge_is_unsure_of_or_contradicts_itself_on_comes_first():
    sure, unsure = doubt_of(0.97, True), doubt_of(0.55, True)
    assert doubt_of(0.9, False) > unsure > sure and doubt_of(None, None) is None
    tasks = [task(0, sure), task(1, unsure), task(2, doubt_of(0.5, False)), task(3)]
    assert [each.name for each in in_order(tasks, 0, active=True)] == ["c2", "c3", "c1", "c0"]
    orders = {tuple(each.name for each in in_order(tasks, seed, active=False)) for seed in range(40)}
    assert len(orders) > 10, "without it the order is drawn"


def test_the_share_that_two_people_label_is_exact_and_does_not_depend_on_the_judge():
    tasks = [task(number) for number in range(300)]
    twice = labelled_twice(tasks, 0.2, 7)
    assert len(twice) == 60 and twice == labelled_twice([task(n, n / 300) for n in range(300)], 0.2, 7)
    assert labelled_twice(tasks, 0.2, 8) != twice


def test_sides_are_drawn_for_each_person():
    tasks = [task(number) for number in range(400)]
    for person in ("p1", "p2"):
        assert 150 < sum(shown_swapped(each, person, 0) for each in tasks) < 250
    assert any(shown_swapped(each, "p1", 0) != shown_swapped(each, "p2", 0) for each in tasks)


def units(*rows: str) -> list[list[tuple[str, str]]]:
    """Rows are people, columns comparisons; a dot is nothing said."""
    return [[(str(who), word) for who, word in enumerate(column) if word != "."] for column in zip(*rows, strict=True)]


@pytest.mark.parametrize(
    ("rows", "alpha"),
    [
        (("0100000010", "1110010000"), 0.095),
        (("aabbdcccedda", "babbbccceddd"), 0.692),
        (("123321412...", "1233224125.3", ".3332342251.", "12332441251."), 0.743),
    ],
)
def test_alpha_is_that_of_the_examples_in_krippendorff_2011(rows, alpha):
    """Computing Krippendorff's Alpha-Reliability, examples A, B and C (nominal)."""
    assert krippendorff_alpha(units(*rows)) == pytest.approx(alpha, abs=5e-4)


def test_kappa_is_cohens():
    both = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
    assert cohen_kappa(both) == pytest.approx(0.4)  # observed 0.7, by chance 0.5


def test_agreement_counts_the_first_two_words_about_a_comparison_and_no_skips():
    labels = [said(words) for words in ("a a", "b b", "a b b", "a s", "s b a", "t t", "a")]
    found = agreement(labels)
    assert (found["comparisons"], found["agree"]) == (5, 3)
    assert {tuple(row["annotators"]): row["shared"] for row in found["cohen"]} == {("p1", "p2"): 4, ("p2", "p3"): 1}
    assert agreement([said("a"), said("b")])["krippendorff_alpha"] is None
    always_a = agreement([said("a a"), said("a a")])
    assert (always_a["agree"], always_a["cohen_mean"], always_a["krippendorff_alpha"]) == (2, None, None)


@pytest.mark.parametrize(
    ("reason", "straight", "exchanged"),
    [
        ("[A] adds up, [B] does not", "[chosen] adds up, [rejected] does not", "[rejected] adds up, [chosen] does not"),
        ("Answer A answers a question", "[chosen] answers a question", "[rejected] answers a question"),
        ("shorter", "shorter", "shorter"),
        ("A is right", None, None),
        ("A clear answer", None, None),  # an article, which can't be told from a side
        (" ", None, None),
    ],
)
def test_a_reason_names_chosen_and_rejected_whichever_side_they_were_shown_on(reason, straight, exchanged):
    assert told(Label("t", "p1", "a", reason), "a") == straight
    assert told(Label("t", "p1", "a", reason, swapped=True), "a") == exchanged
    assert reasons_for([Label("t", "p1", "b", reason)], "a") == [], "of those who chose the winner"


def test_a_reason_that_leaves_the_desk_calls_answer_a_a():
    assert as_of_file(Label("t", "p1", "a", "[A] or Answer B", swapped=True)) == "[B] or Answer A"
    assert as_of_file(Label("t", "p1", "a", "B is wrong", swapped=True)) == "(A and B were exchanged) B is wrong"
    assert as_of_file(Label("t", "p1", "a", "[A]")) == "[A]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--desk.overlap", "0.2"), "needs 3 people, and annotators is 1; raise it, or set overlap to 0"),
        (("--desk.overlap", "0.2", "--desk.annotators", "2"), "raise it, or disagreement to leave_out, or set overlap"),
        (("--desk.enough", "0"), "greater than 0"),
        (("--desk.anotators", "3"), "did you mean desk.annotators?"),
    ],
)
def test_a_desk_that_could_never_close_is_refused(words, says):
    with pytest.raises(ConfigError) as refused:
        load_config(LabelConfig, None, words)
    assert says in str(refused.value)
