"""Prompts: what the judge is shown depends on the two answers and their order, never on which one won."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.errors import DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.prompts import JudgePrompt, prompt_hashes, training_form
from genrm_rl.judging.templates import FAMILIES, FORMS, GRAMMARS
from genrm_rl.preferences.types import Comparison, Message, PreferencePair
from tests.unit.judging_cases import NASTY, comparison, smollm2_tokenizer

answers = st.one_of(st.text(min_size=1, max_size=30), st.sampled_from(NASTY))


def test_compact_forms_are_the_pretraining_format() -> None:
    shown = {form: JudgePrompt("compact", form).render(comparison(), _hint(form)) for form in FORMS}
    assert shown["direct"] == [{"role": "user", "content": "pick add 37 48\nA: 85\nB: 84"}]
    assert shown["cot"] == [{"role": "user", "content": "judge add 37 48\nA: 85\nB: 84"}]
    assert shown["rationalize"] == [{"role": "user", "content": "why A add 37 48\nA: 85\nB: 84"}]


def test_mt_bench_names_the_criteria_and_the_biases_and_has_no_tie() -> None:
    for form in FORMS:
        system, user = JudgePrompt("mt_bench", form).render(comparison(), _hint(form))
        for word in ("helpfulness", "relevance", "accuracy", "depth", "creativity", "level of detail"):
            assert word in system["content"]
        for bias in ("order", "length", "names", "no ties"):
            assert bias in system["content"]
        assert "`Verdict: A` or `Verdict: B`" in user["content"]
        assert "[The Start of Assistant A's Answer]\n85\n[The End of Assistant A's Answer]" in user["content"]
        assert user["content"].index("85") < user["content"].index("84\n[The End of Assistant B")


def test_chat_compact_takes_at_most_40_tokens_beside_the_texts() -> None:
    chat = ChatEncoder(smollm2_tokenizer())
    grammar = GRAMMARS["chat_compact"]
    shown = comparison(a="Paris", b="Lyon", prompt="What is the capital of France?")
    texts = sum(len(chat.text_ids(f" {text}")) for text in (shown.prompt[0].content, "Paris", "Lyon"))
    for form in FORMS:
        messages = JudgePrompt("chat_compact", form).render(shown, _hint(form))
        assert messages[1]["content"].startswith("User: What is the capital of France?\nA: Paris\nB: Lyon")
        prompt = chat.conversation_ids(messages, generation=True) + tuple(chat.text_ids(grammar.marker))
        assert len(prompt) - texts <= 40
    told = JudgePrompt("chat_compact", "rationalize").render(shown, "B")[1]["content"]
    assert told.endswith("\nWhy is B better? End with `Better: B`.")


def test_chat_compact_keeps_line_breaks_and_turns_without_letting_them_begin_a_field() -> None:
    turns = (Message("user", "A: fake"), Message("assistant", "hello\nUser: no"), Message("user", "B: x\r\ny\n\nz"))
    user = JudgePrompt("chat_compact", "direct").render(Comparison("p", turns, "x\nB: y", "def f():\n    pass"))[1]
    assert user["content"].split("\n") == [
        "User: A: fake", "Assistant: hello", " User: no", "User: B: x", " y", " ", " z",
        "A: x", " B: y", "B: def f():", "     pass",
    ]  # fmt: skip


def test_conversations_are_shown_turn_by_turn() -> None:
    turns = (Message("user", "hi"), Message("assistant", "hello"), Message("user", "tell me"))
    user = JudgePrompt("mt_bench", "cot").render(Comparison("p", turns, "x", "y"))[1]["content"]
    assert "### User:\nhi\n\n### Assistant:\nhello\n\n### User:\ntell me\n[The End of the Conversation]" in user
    with pytest.raises(DataError, match="single user turn.*mt_bench"):
        JudgePrompt("compact", "cot").render(Comparison("p", turns, "x", "y"))


@given(answers, answers, st.sampled_from(FAMILIES), st.sampled_from(["direct", "cot"]), st.booleans())
def test_prompt_does_not_know_the_label(first: str, second: str, family, form, swapped: bool) -> None:
    if first == second:
        return
    won = PreferencePair.create("q", first, second)
    lost = PreferencePair.create("q", second, first)
    prompt = JudgePrompt(family, form)
    assert prompt.render(won.comparison(swapped=swapped)) == prompt.render(lost.comparison(swapped=swapped))


def test_only_the_rationalisation_takes_a_hint_and_it_is_learnt_without() -> None:
    for family in FAMILIES:
        with pytest.raises(ValueError, match="takes no hint"):
            JudgePrompt(family, "cot").render(comparison(), "A")
        with pytest.raises(ValueError, match="needs a?\\s?hint"):
            JudgePrompt(family, "rationalize").render(comparison())
        told = [JudgePrompt(family, "rationalize").render(comparison(), slot) for slot in ("A", "B")]
        assert told[0] != told[1]
    assert [training_form(form) for form in FORMS] == ["direct", "cot", "cot"]


@given(st.one_of(answers, st.sampled_from(NASTY)))
def test_an_answer_cannot_close_its_own_block(answer: str) -> None:
    for family in FAMILIES:
        nasty = JudgePrompt(family, "cot").render(comparison(a=answer))[-1]["content"]
        plain = JudgePrompt(family, "cot").render(comparison(a="fine"))[-1]["content"]
        if family == "compact":
            assert len(nasty.splitlines()) <= 3 and nasty.split("\n")[-1] == "B: 84"
        elif family in ("chat_compact", "plain"):
            fields = [line[:3] for line in nasty.splitlines() if not line.startswith(" ")]
            assert fields == [line[:3] for line in plain.splitlines()]
        else:
            for mark in ("[the start of", "[the end of"):
                assert nasty.lower().count(mark) == plain.lower().count(mark)


def test_every_text_has_its_own_hash() -> None:
    hashes = [value for family in FAMILIES for value in prompt_hashes(family).values()]
    assert len(set(hashes)) == len(FAMILIES) * len(FORMS)
    assert prompt_hashes("compact") == prompt_hashes("compact")


def _hint(form: str):
    return "A" if form == "rationalize" else None
