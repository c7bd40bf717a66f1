"""Token ids: control tokens come from the chat template alone, the verdict is one token, nothing is truncated."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from genrm_rl.config import JudgeConfig
from genrm_rl.errors import DataError, ModelError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.templates import FORMS
from genrm_rl.learners.examples import PairExample
from genrm_rl.learners.pair_objectives import PairLogprobs
from genrm_rl.preferences.types import Message, PreferencePair
from tests.unit.judging_cases import CASES, HARMLESS, IDS, NASTY, comparison, pair, smollm2_tokenizer, tiny_tokenizer


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def encoder(request: pytest.FixtureRequest) -> JudgeEncoder:
    tokenizer, family = request.param
    return JudgeEncoder(tokenizer(), family, max_context=2048, max_rationale=64)


def controls(encoder: JudgeEncoder, ids) -> list[int]:
    """Control tokens among ids (unknown characters of the tiny tokenizer are not control tokens)."""
    unknown = encoder.chat.tokenizer.unk_token_id if encoder.chat.tokenizer is tiny_tokenizer() else None
    return [index for index in ids if index in encoder.chat.special_token_ids and index != unknown]


@pytest.mark.parametrize("answer", NASTY)
def test_no_answer_forges_control_tokens(encoder: JudgeEncoder, answer: str) -> None:
    for form in FORMS:
        hint = "B" if form == "rationalize" else None
        plain = encoder.prompt_ids(comparison(a=HARMLESS, prompt=HARMLESS), form, hint)
        nasty = encoder.prompt_ids(comparison(a=answer, prompt=answer), form, hint)
        assert controls(encoder, nasty) == controls(encoder, plain)
    prompt = (Message("user", answer), Message("assistant", answer), Message("user", answer))
    calm = (Message("user", HARMLESS), Message("assistant", HARMLESS), Message("user", HARMLESS))
    assert controls(encoder, encoder.conversation_ids(prompt, answer)) == controls(
        encoder, encoder.conversation_ids(calm, HARMLESS)
    )


@given(text=st.text(max_size=40))
def test_any_text_stays_text(text: str) -> None:
    for tokenizer, family in CASES[:2]:
        encoder = _encoder(tokenizer, family)
        ids = encoder.chat.text_ids(text)
        assert controls(encoder, ids) == []
        if tokenizer is smollm2_tokenizer and smollm2_tokenizer().unk_token_id not in _raw(text):
            assert encoder.chat.decode(ids) == text


def test_unknown_characters_do_not_become_the_end_of_text() -> None:
    # SmolLM2 has no token for \x06, and its unknown token is <|endoftext|>: found by the property test above.
    assert smollm2_tokenizer().unk_token == "<|endoftext|>" and smollm2_tokenizer().unk_token_id in _raw("\x06")
    chat = _encoder(smollm2_tokenizer, "mt_bench").chat
    assert chat.decode(chat.text_ids("a\x06b")) == "a\ufffdb"


def test_encoding_equals_the_plain_chat_template_for_harmless_text(encoder: JudgeEncoder) -> None:
    from genrm_rl.judging.prompts import JudgePrompt

    shown = comparison(a="85", b="84")
    messages = JudgePrompt(encoder.family, "cot").render(shown)
    tokenizer = encoder.chat.tokenizer
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if encoder.family == "plain":
        text = messages[-1]["content"]
    assert list(encoder.prompt_ids(shown, "cot")) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_verdict_is_one_token_after_the_forced_marker(encoder: JudgeEncoder) -> None:
    a, b = encoder.verdict_token_ids
    assert a != b
    prompt = encoder.prompt_ids(comparison(), "direct")
    tail = prompt[-len(encoder.marker_token_ids) :]
    assert encoder.chat.decode((*tail, a)) == encoder.grammar.line("A")
    assert encoder.max_tokens("direct") == 1
    written = encoder.completion_ids("because", "B")
    assert written[-2:] == (b, encoder.stop_token_id)
    assert encoder.chat.decode(written) == f"because\n{encoder.grammar.line('B')}"
    assert len(written) <= len(encoder.chat.text_ids("because")) + encoder.verdict_room


def test_end_of_turn_comes_from_the_chat_template() -> None:
    assert _encoder(tiny_tokenizer, "compact").stop_token_id == tiny_tokenizer().eos_token_id
    end = smollm2_tokenizer().convert_tokens_to_ids("<|im_end|>")
    assert _encoder(smollm2_tokenizer, "mt_bench").stop_token_id == end


def test_scalar_input_ends_at_the_end_of_turn_and_holds_one_answer(encoder: JudgeEncoder) -> None:
    ids = encoder.conversation_ids((Message("user", "add 1 2"),), "3")
    assert ids[-1] == encoder.stop_token_id
    assert encoder.chat.decode(ids[-2:]) == "3"
    assert encoder.pair_ids(comparison()) == encoder.prompt_ids(comparison(), "direct")


def test_examples_put_loss_on_the_completion_only(encoder: JudgeEncoder) -> None:
    written = encoder.written_example(comparison(), "so", "B")
    assert written.token_ids == encoder.prompt_ids(comparison(), "cot") + encoder.completion_ids("so", "B")
    assert sum(written.loss_mask) == len(written.completion_token_ids) and written.loss_mask[-1] == 1


def test_what_does_not_fit_is_said_and_never_cut() -> None:
    encoder = JudgeEncoder(tiny_tokenizer(), "compact", max_context=96, max_rationale=40)
    assert encoder.misfit(pair()) is None
    reason = encoder.misfit(pair(chosen="a" * 60))
    assert reason is not None and "the context has 96" in reason
    assert "does not know" in str(encoder.misfit(pair(chosen="caf\u00e9")))
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert "single user turn" in str(encoder.misfit(PreferencePair.create(turns, "x", "y")))


@pytest.mark.parametrize("size", range(28, 52))
def test_misfit_agrees_with_the_exact_count_near_the_limit(size: int) -> None:
    encoder = JudgeEncoder(tiny_tokenizer(), "compact", max_context=96, max_rationale=20, force_verdict=True)
    subject = pair(chosen="a" * size)
    longest = max(len(encoder.prompt_ids(subject.comparison(swapped=s), "cot")) for s in (False, True))
    fits = longest + 20 + 2 * encoder.verdict_room <= 96
    assert (encoder.misfit(subject) is None) == fits


def test_templates_without_a_system_turn_get_it_in_front_of_the_question() -> None:
    encoder = JudgeEncoder(tiny_tokenizer(), "compact", max_context=512, max_rationale=40)
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "add 1 2"}]
    ids = encoder.chat.conversation_ids(messages, generation=True)
    merged = [{"role": "user", "content": "be kind\n\nadd 1 2"}]
    assert ids == encoder.chat.conversation_ids(merged, generation=True)
    with pytest.raises(ModelError, match="refuses the turns tool"):
        encoder.chat.conversation_ids([{"role": "tool", "content": "x"}], generation=True)


def test_unfit_tokenizers_are_refused_in_one_sentence() -> None:
    from transformers import PreTrainedTokenizerFast

    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer, eos_token="</s>")
    with pytest.raises(ModelError, match="no chat template"):
        JudgeEncoder(bare, "compact", max_context=512, max_rationale=40)
    with pytest.raises(ModelError, match="Verdict: A.*one token each"):
        JudgeEncoder(_without_capital_b(), "mt_bench", max_context=512, max_rationale=40)


def test_added_tokens_that_are_not_special_stay_text_too() -> None:
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens(["<think>"])
    encoder = JudgeEncoder(tokenizer, "compact", max_context=512, max_rationale=40)
    ids = encoder.chat.text_ids("a<think>b<think>")
    assert tokenizer.convert_tokens_to_ids("<think>") not in ids
    assert encoder.chat.decode(ids) == "a<think>b<think>"


def test_encoder_takes_its_settings_from_the_judge_section() -> None:
    config = JudgeConfig(template="compact", max_rationale=33, force_verdict=True)
    encoder = JudgeEncoder.from_config(tiny_tokenizer(), config, 128)
    assert (encoder.family, encoder.max_rationale, encoder.max_context) == ("compact", 33, 128)
    assert encoder.force_verdict
    with pytest.raises(DataError):
        encoder.prompt_ids(PreferencePair.create([{"role": "system", "content": "s"}], "a", "b").comparison(), "cot")


def _raw(text: str) -> list[int]:
    return smollm2_tokenizer()(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _encoder(tokenizer, family) -> JudgeEncoder:
    return JudgeEncoder(tokenizer(), family, max_context=2048, max_rationale=64)


def _without_capital_b() -> PreTrainedTokenizerBase:
    import json

    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    described = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    vocabulary["<gone>"] = vocabulary.pop("B")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=tiny_tokenizer().chat_template,
    )


def with_template(template: str, **changes: Any) -> ChatEncoder:
    """The tiny tokenizer with another template, adding ``<s>`` in front of whatever it encodes by default."""
    import copy

    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(tiny_tokenizer())
    begin = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.eos_token_id)]
    )
    tokenizer.chat_template = template
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return ChatEncoder(tokenizer)


TURNS = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"


def test_a_conversation_begins_once() -> None:
    """The template writes the first token and the tokenizer would add it again, in front of every text."""
    begin = tiny_tokenizer().eos_token
    chat = with_template(TURNS, bos_token=begin)
    ids = chat.conversation_ids(
        [{"role": "user", "content": "add 1 2"}, {"role": "assistant", "content": "3"}], generation=False
    )
    assert ids.count(chat.tokenizer.eos_token_id) == 3, "the beginning and two ends"
    assert chat.tokenizer.eos_token_id not in chat.text_ids("add 1 2")


def test_a_tokenizer_without_a_first_token_puts_none() -> None:
    chat = with_template(TURNS.replace("{{ bos_token }}", ""), bos_token=None)
    ids = chat.conversation_ids([{"role": "user", "content": "add 1 2"}], generation=False)
    assert None not in ids and ids == (*chat.text_ids("add 1 2"), chat.tokenizer.eos_token_id)


def test_prompt_and_completion_are_tokenised_apart() -> None:
    """Letters at the border of prompt and answer would merge into one token, and the loss would begin inside of it."""
    chat = ChatEncoder(smollm2_tokenizer())
    whole, parts = chat.text_ids("understand"), (chat.text_ids("under"), chat.text_ids("stand"))
    assert whole != [*parts[0], *parts[1]], "the tokenizer merges over the border"
    pair = PairExample.from_completions(parts[0], (*parts[1], chat.stop_token_id), (7,))
    chosen, _ = PairLogprobs().segments(pair)
    assert [chosen.token_ids[position + 1] for position in chosen.take] == [*parts[1], chat.stop_token_id]


def test_threads_that_share_an_encoder_do_not_disturb_each_other() -> None:
    chat = ChatEncoder(smollm2_tokenizer())
    plain, marked = "it is 4 <|im_end|> and more " * 40, "<|im_end|>\n" * 40
    want = {plain: chat.text_ids(plain), marked: chat._marked(marked)}

    def encode(number: int) -> bool:
        text, how = (plain, chat.text_ids) if number % 2 else (marked, chat._marked)
        return tuple(how(text)) == tuple(want[text])

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(encode, range(400)))
