"""A model's chat template is a program: what can go wrong with it is said before an engine starts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from genrm_rl.config import JudgeConfig
from genrm_rl.errors import ModelError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.serving.trainers.policy_format import PolicyFormat
from tests.unit.judging_cases import comparison, tiny_tokenizer

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
OPENING = "{% if add_generation_prompt %}<assistant>{% endif %}"
DATED = "{{ strftime_now('%d %b %Y') }}" + TURNS + OPENING
THINKING = TURNS + OPENING + "{% if enable_thinking is defined and not enable_thinking %}(no thoughts){% endif %}"


def chat(template: str, arguments: Mapping[str, Any] | None = None) -> ChatEncoder:
    return ChatEncoder(tokenizer(template), arguments)


def tokenizer(template: str):
    changed = copy.deepcopy(tiny_tokenizer())
    changed.chat_template = template
    return changed


def encoder(template: str, arguments: Mapping[str, Any] | None = None) -> JudgeEncoder:
    settings = {"max_context": 512, "max_rationale": 40, "template_arguments": arguments}
    return JudgeEncoder(tokenizer(template), "compact", **settings)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0].content + 1 }}", "TypeError: can only concatenate"),
        ("{{ messages[9].content.missing }}", "has no element 9"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ raise_exception('no thanks') }}", r"\(no thanks\)"),
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ messages[0].content | no_such_filter }}", "no_such_filter"),
        ("{{ messages.append(1) }}", "unsafe|not safely callable"),
        ("{{ ['a', 'b'] | random }}" + TURNS, "draws at random"),
        ("<user>x</s>", "does not show the user turn exactly once"),
    ],
)
def test_a_template_that_fails_is_refused_in_one_sentence_whatever_it_raises(template, message):
    with pytest.raises(ModelError, match=message):
        chat(template).check_template()


def test_a_template_shows_the_same_day_for_ever(monkeypatch):
    import transformers.utils.chat_template_utils as utils

    shown = chat(DATED).conversation_ids([{"role": "user", "content": "x"}], generation=True)
    assert "2024" in tiny_tokenizer().decode(shown)

    class Tomorrow(utils.datetime):
        @classmethod
        def now(cls):
            return cls(2031, 1, 2)

    monkeypatch.setattr(utils, "datetime", Tomorrow)
    assert chat(DATED).conversation_ids([{"role": "user", "content": "x"}], generation=True) == shown


def test_arguments_reach_the_template_and_the_hash_of_the_prompt_and_misspelt_ones_are_refused():
    thinks, does_not = encoder(THINKING), encoder(THINKING, {"enable_thinking": False})
    shown = does_not.chat.decode(does_not.prompt_ids(comparison(), "cot"))
    assert shown.endswith("(no thoughts)")
    assert not thinks.chat.decode(thinks.prompt_ids(comparison(), "cot")).endswith("(no thoughts)")
    with pytest.raises(ModelError, match="does not ask for `enable_thinkin`; take it out of chat_template_kwargs"):
        encoder(THINKING, {"enable_thinkin": False})
    hashes = [made.prompt_hashes["cot"] for made in (thinks, does_not, encoder(DATED), encoder(THINKING))]
    assert hashes[0] == hashes[3] and len(set(hashes)) == 3, (
        "the same words in another chat template are another prompt"
    )


def test_a_policys_prompt_is_found_whatever_day_its_trainer_rendered_it_on():
    form = PolicyFormat(tokenizer(DATED))
    for day in ("26 Jul 2024", "02 Jan 2031"):
        assert form.question(f"{day}<user>add 1\n2?</s><assistant>") == "add 1\n2?"
    assert form.question("something else") == "something else"


def test_earlier_answers_have_their_thoughts_exactly_where_the_template_shows_them():
    """Rendered whole, as an engine's own chat endpoint would, the conversation must be the same."""
    content = "{{ m.content.split('</think>')[-1] if m.role == 'assistant' and not loop.last else m.content }}"
    dropping = TURNS.replace("{{ m.content }}", content) + OPENING
    turns = [("user", "add 1 2"), ("assistant", "<think>1 2</think>3"), ("user", "add 3 4")]
    messages = [{"role": role, "content": text} for role, text in turns]
    for template in (dropping, TURNS + OPENING):
        made = tokenizer(template)
        whole = made.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert made.decode(chat(template).conversation_ids(messages, generation=True)) == whole
        last = chat(template).conversation_ids(messages[:2], generation=False)
        assert "<think>1 2</think>3" in made.decode(last), "the last answer is what it is about"


def test_a_template_and_a_tokenizer_that_both_write_the_start_write_it_once():
    """And a template that asks for a start token which the tokenizer does not have writes none."""
    from tokenizers.processors import TemplateProcessing

    both = tokenizer("{{ bos_token }}" + TURNS + OPENING)
    both.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", both.bos_token_id)]
    )
    assert both("x").input_ids[0] == both.bos_token_id
    ids = ChatEncoder(both).conversation_ids([{"role": "user", "content": "x"}], generation=True)
    assert ids.count(both.bos_token_id) == 1
    none = tokenizer("{{ bos_token }}" + TURNS + OPENING)
    none.bos_token = None
    text = none.decode(ChatEncoder(none).conversation_ids([{"role": "user", "content": "x"}], generation=True))
    assert text == "<user>x</s><assistant>"


@pytest.mark.parametrize(
    ("answer", "judged"),
    [
        ("<think>wrong</think>right", "right"),
        ("\n<think>a</think>\n\nright <think>b</think>", "right"),
        ("so it is</think>right", "right"),  # the prompt opened the thinking
        ("<think>and so on", ""),
        ("<think></think>", ""),
        ("write `<think>` before it", "write `<think>` before it"),
        ("a <think>b</think> c", "a <think>b</think> c"),
        ("plain  ", "plain  "),
    ],
)
def test_the_thoughts_of_an_answer_are_not_judged(answer, judged):
    from genrm_rl.judging.thoughts import without_thoughts

    assert without_thoughts(answer) == judged
    judge, shown = encoder(TURNS + OPENING), JudgeEncoder.from_config(
        tokenizer(TURNS + OPENING), JudgeConfig(answer_thoughts="show"), 512
    )  # fmt: skip
    pair = comparison(a=answer, b="other")
    assert judge.prompt_ids(pair, "cot") == shown.prompt_ids(comparison(a=judged, b="other"), "cot")
    assert judge.conversation_ids(pair.prompt, answer) == judge.conversation_ids(pair.prompt, judged)
    assert judge.indistinct(comparison(a=answer, b=judged), "cot")
    assert (shown.prompt_ids(pair, "cot") == judge.prompt_ids(pair, "cot")) is (answer == judged)
    assert shown.prompt_hashes != judge.prompt_hashes
