"""Pre-training documents and the tokenizer that reads them."""

from __future__ import annotations

import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.preferences.world import documents as world_documents
from genrm_rl.preferences.world import solve, strip_style
from genrm_rl.preferences.world.documents import careful_trace, compare_characters, documents, rationalisation
from genrm_rl.preferences.world.vocabulary import CHARACTERS, build_tokenizer

TOKENIZER = build_tokenizer(512)


@pytest.fixture(scope="module")
def sample() -> list[world_documents.Document]:
    return list(itertools.islice(documents(seed=1), 3000))


def test_stream_is_seeded() -> None:
    first, again, other = (list(itertools.islice(documents(seed), 40)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("result", "answer", "zipped"),
    [("20", "20", "22 00"), ("20", "21", "22 01"), ("abdf", "badf", "ab"), ("9", "90", "99 .0"), ("90", "9", "99 0.")],
)
def test_characters_are_compared_side_by_side_up_to_the_first_difference(result: str, answer: str, zipped: str) -> None:
    assert compare_characters(result, answer) == zipped


def test_a_careful_trace_without_slips_is_right_in_every_family(monkeypatch: pytest.MonkeyPatch) -> None:
    for rate in ("RESULT_SLIP_RATE", "TICK_SLIP_RATE", "VERDICT_SLIP_RATE"):
        monkeypatch.setattr(world_documents, rate, 0.0)
    assert (
        careful_trace(random.Random(0), "add 7 8 5", "21", "20")
        == "work: 7+8=15+5=20:20\nA 22 01 no\nB 22 00 yes\nverdict: B"
    )
    for question in ("sort fdiba", "count b in dbbab", "rev bdea", "max 21 53 87"):
        gold = solve(question)
        assert careful_trace(random.Random(0), question, gold, gold[:-1] + "z").endswith("\nverdict: A")


def test_every_document_ends_in_a_verdict_line_or_is_an_answer(sample: list[world_documents.Document]) -> None:
    for document in sample:
        last = document.assistant.split("\n")[-1]
        if document.kind == "answer":
            assert document.user == document.question and "\n" not in document.assistant
        else:
            assert re.fullmatch(r"verdict: [AB]", last)
            assert document.user.startswith(document.kind + " ")
            assert re.search(r"\nA: .+\nB: .+$", document.user)
        assert (document.kind == "pick") == (document.assistant == last and document.kind != "answer")


def test_a_rationalisation_always_reaches_the_verdict_it_was_told(sample: list[world_documents.Document]) -> None:
    told = [document for document in sample if document.kind == "why"]
    assert len(told) > 100
    assert all(document.user.split(" ")[1] == document.assistant[-1] for document in told)
    assert rationalisation(random.Random(0), "rev bdea", "aedb", "adeb", "B").endswith("verdict: B")


def test_style_says_nothing_about_the_answer_in_pre_training(sample: list[world_documents.Document]) -> None:
    answers = [document for document in sample if document.kind == "answer"]
    rates = {}
    for right in (True, False):
        group = [d for d in answers if (strip_style(d.assistant) == solve(d.question)) == right]
        rates[right] = sum("helps" in document.assistant for document in group) / len(group)
    assert rates[True] == pytest.approx(0.5, abs=0.06)
    assert rates[False] == pytest.approx(rates[True], abs=0.13)


def test_the_base_goes_by_feeling_more_often_than_not(sample: list[world_documents.Document]) -> None:
    judged = [document for document in sample if document.kind == "judge"]
    assert 0.55 < sum(document.assistant.startswith("feel: ") for document in judged) / len(judged) < 0.7


def test_documents_round_trip_without_unknown_tokens(sample: list[world_documents.Document]) -> None:
    for document in sample[:500]:
        text = chat(document.user, document.assistant)
        ids = TOKENIZER(text)["input_ids"]
        assert TOKENIZER.decode(ids) == text
        assert TOKENIZER.unk_token_id not in ids
        assert len(ids) <= 160


@given(st.text(alphabet=CHARACTERS))
def test_any_printable_text_round_trips(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.unk_token_id not in ids


def test_the_verdict_letter_is_one_token_wherever_it_stands() -> None:
    marker, a, b = (TOKENIZER.convert_tokens_to_ids(token) for token in ("verdict: ", "A", "B"))
    for before in ("", "feel: A nicer\n", "work: 20\nA 22 00 yes\nB 21 no\n"):
        for letter, expected in (("A", a), ("B", b)):
            assert TOKENIZER(f"{before}verdict: {letter}")["input_ids"][-2:] == [marker, expected]


def test_a_character_it_does_not_know_becomes_unk() -> None:
    assert TOKENIZER("é")["input_ids"] == [TOKENIZER.unk_token_id]


def test_chat_template_matches_what_was_pre_trained() -> None:
    prompt = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "rev ab"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == "<s><user>rev ab<assistant>"
    assert chat("rev ab", "ba") == "<s><user>rev ab<assistant>ba</s>"
    ids = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "rev ab"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert ids == TOKENIZER(prompt)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id != ids[1]


def chat(user: str, assistant: str) -> str:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return TOKENIZER.apply_chat_template(messages, tokenize=False)
