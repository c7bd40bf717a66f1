"""What the reader collects: texts found again, the gold mark on the right side, how rewards came about."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.config import DataConfig, SourceConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.nulls import null_negatives
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.reading.collect import collect
from genrm_rl.reading.command import read_run
from genrm_rl.reading.pair_texts import find_pairs
from genrm_rl.reading.text_store import TextStore
from genrm_rl.reading.types import Flag, Item, Part, ReadGroup, ReadJudgment
from genrm_rl.reading.word_index import BUCKETS, WordIndex, bucket_of, steps
from genrm_rl.runtime.run_directory import PROVENANCE
from genrm_rl.runtime.storage import write_json_lines
from tests.unit.reader_runs import ANSWERS, QUESTION, aligned_run, evaluated_run, trained_run


@pytest.fixture
def store(tmp_path: Path):
    with TextStore(tmp_path) as found:
        yield found


def parts(run: Path, store: TextStore) -> dict[str, tuple[Part, list[Item]]]:
    return {part.name: (part, list(part.items)) for part in collect(run, store)}


def test_a_judgment_has_its_texts_and_the_gold_mark_is_on_the_side_of_the_chosen_answer(tmp_path, store):
    run = tmp_path / "run"
    pairs = {pair.prompt[0].content: pair for pair in evaluated_run(run, ["RR", "WW", "RW", "R?"] * 4)}
    found = parts(run, store)["evaluation/j/set/sampled"][1]
    assert {item.gold for item in found} == {"A", "B"}, "both sides are tried"
    for item in found:
        pair = pairs[item.texts.prompt[0].content]
        assert {"A": item.texts.a, "B": item.texts.b}[item.gold] == pair.chosen
        for vote in item.votes:
            canonical = vote.verdict.slot
            said_right = canonical == item.gold
            assert canonical is None or (vote.p_a > 0.5) == (canonical == "A")
            first = item.texts.a if vote.order == "ab" else item.texts.b
            letter_a = vote.letter_p and vote.letter_p[0] > 0.5
            assert canonical is None or letter_a == ((first == pair.chosen) == said_right), "A is who was shown first"
    flags = Counter(item.flags for item in found)
    assert flags == {Flag.RIGHT: 4, Flag.WRONG: 4, Flag.CONTRADICTORY | Flag.TIE: 4, Flag.NO_VERDICT: 4}


def test_runs_inside_a_run_are_told_apart_and_ids_stay(tmp_path, store):
    for inside in ("", "turn1/judge", "turn2/judge"):
        evaluated_run(tmp_path / "loop" / inside)
    aligned_run(tmp_path / "loop/turn1/align")
    aligned_run(tmp_path / "loop/turn2/align")
    first, again = (
        [(name, item.id) for name, (_, items) in parts(tmp_path / "loop", store).items() for item in items]
        for _ in range(2)
    )
    assert first == again and len({identifier for _, identifier in first}) == len(first) == 3 * 8 + 2 * 2


def test_null_answers_are_made_again(tmp_path, store):
    run = tmp_path / "run"
    evaluated_run(run)
    found = parts(run, store)["probes/j/null_answers/greedy"][1]
    assert {item.probe for item in found} == {"other_answer", "worn_verdict"} and len(found) == 4
    for item in found:
        good, null = (item.texts.a, item.texts.b) if item.gold == "A" else (item.texts.b, item.texts.a)
        assert good.startswith("good answer") and null != good
        assert item.flags == Flag.PROBE | Flag.WRONG


def test_null_negatives_of_the_training_pairs_are_made_again(tmp_path, store):
    pairs = [PreferencePair.create(f"lesson {n}", f"good {n}", f"poor {n}") for n in range(20)]
    rows = [{"prompt": p.prompt[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    write_json_lines(tmp_path / "train.jsonl", rows)
    source = SourceConfig(path="train.jsonl")
    drawn = {pair.id: pair for pair in null_negatives(pairs, 2.0, 7)}
    assert len(drawn) > 20 and "null_other_answer" in {pair.category for pair in drawn.values()}
    data = DataConfig(root=str(tmp_path), train=(source,), null_negatives=2.0)
    assert find_pairs(data, 7, store, drawn, set()) == []
    for name, pair in drawn.items():
        texts = store.texts(name)
        assert {"A": texts.a, "B": texts.b}[store.gold(name)] == pair.chosen and pair.rejected in (texts.a, texts.b)


def test_texts_that_are_gone_are_said_and_judgments_stay(tmp_path, store):
    run = tmp_path / "run"
    evaluated_run(run)
    (run / "pairs.jsonl").unlink()
    part, items = parts(run, store)["evaluation/j/set/sampled"]
    assert "pairs.jsonl does not exist" in part.notes[0]
    assert all(item.texts is None and len(item.votes) == 2 for item in items)


def test_a_reward_is_traced_to_its_matches_and_a_mask_to_its_reason(tmp_path, store):
    (judgment,) = aligned_run(tmp_path / "run")
    ((_, (group, match)),) = parts(tmp_path / "run", store).values()
    assert isinstance(group, ReadGroup) and isinstance(match, ReadJudgment)
    right, wrong, cut = group.answers
    assert (right.text, wrong.text, cut.text) == ANSWERS and group.prompt[0].content == QUESTION
    assert [each.right for each in group.answers] == [True, False, False]
    assert right.matches[0].opponent == 1 and right.matches[0].outcome == pytest.approx(0.25)
    assert wrong.matches[0].opponent == 0 and wrong.matches[0].outcome == pytest.approx(0.75)
    assert right.matches[0].judgment == match.id and right.matches[0].place == 0
    assert (cut.reward, cut.mask, list(cut.matches)) == (None, "truncated", [])
    assert group.flags == Flag.GROUP | Flag.MASKED and right.parts == {"judge": 0.25, "length": 0.0}
    assert (match.texts.a, match.texts.b) == ("five", "four"), "in the order in which they were sent"
    assert match.gold == "B" and match.verdict is Verdict.PREFERS_A and match.flags == Flag.WRONG
    assert match.p_a == judgment.p_a and match.group == group.id
    assert [vote.letter_p for vote in match.votes] == [pytest.approx((0.8, 0.2)), pytest.approx((0.3, 0.7))]


def test_traces_that_were_sampled_stand_by_pair_with_what_selection_made_of_each(tmp_path, store):
    pair = trained_run(tmp_path / "run")
    ((part, found),) = parts(tmp_path / "run", store).values()
    assert part.name == "traces/base-part1" and part.notes == []
    mine, other = sorted(found, key=lambda item: item.texts.prompt[0].content)
    assert {"A": mine.texts.a, "B": mine.texts.b}[mine.gold] == pair.chosen
    assert sorted((trace.vote.order, trace.right, *trace.reasons) for trace in mine.traces) == [
        ("ab", True, ("star_sft round1", "duplicate")),
        ("ab", True, ("star_sft round1", "kept")),
        ("ba", False, ("star_sft round1", "wrong_verdict")),
    ]
    assert mine.flags == Flag.TRACES | Flag.RIGHT | Flag.WRONG | Flag.KEPT | Flag.DUPLICATE
    assert other.flags == Flag.TRACES | Flag.NO_VERDICT and [trace.right for trace in other.traces] == [None, None]


def test_of_rounds_that_kept_no_reason_codes_right_and_wrong_are_shown_and_that_is_said(tmp_path, store):
    trained_run(tmp_path / "run", recorded=False)
    ((part, found),) = parts(tmp_path / "run", store).values()
    assert "star_sft round1 made of each trace is not recorded" in part.notes[0]
    assert {item.flags for item in found} == {Flag.TRACES | Flag.RIGHT | Flag.WRONG, Flag.TRACES | Flag.NO_VERDICT}


def test_what_is_not_finished_or_no_run_is_not_read(tmp_path, store):
    run = tmp_path / "run"
    evaluated_run(run)
    (run / "probes/j/null_answers/greedy/judgments/_COMPLETE.json").unlink()
    assert list(parts(run, store)) == ["evaluation/j/set/sampled"]
    (run / "evaluation/j/set/sampled/judgments/_COMPLETE.json").unlink()
    for folder, says in ((run, "holds no finished judgments"), (tmp_path / "typo", "is not a run directory")):
        with pytest.raises(RunDirectoryError, match=says):
            read_run(folder, Console(quiet=True))
    assert not (tmp_path / "typo").exists() and not list(run.glob("*reader*"))


def test_a_run_of_agents_is_not_taken_for_an_alignment_whose_sections_it_has(tmp_path, store):
    (tmp_path / PROVENANCE).write_text("{}")
    (tmp_path / "config.yaml").write_text("tasks: {environment: shop}\nppo: {steps: 3}\n")
    assert list(parts(tmp_path, store)) == []


def test_words_are_found_in_the_file_that_their_beginning_names(tmp_path):
    index = WordIndex(tmp_path / "words")
    for texts in (["Rot, grün"], ["rot 7"], [""], ["ROT __proto__ \U0001f600 ﬁx"]):
        index.add(texts)
    files = {number: json.loads(text) for number, text in index.files()}
    assert len(files) == index.buckets == 1
    found = dict(entry.split(" ") for entry in files[0].split(","))
    assert found == {"rot": steps([0, 1, 3]), "grün": "W", "7": "X", "__proto__": "Z", "ﬁx": "Z"}
    assert bucket_of("rotation") == bucket_of("rot") and 0 <= bucket_of("\U0001f600") < BUCKETS


def test_steps_of_any_size_are_told_apart_without_a_sign_between_them():
    assert steps([3, 5, 41]) == "ZY1a" and steps([0]) == "W" and steps([2**15 + 1]) == "100X"
