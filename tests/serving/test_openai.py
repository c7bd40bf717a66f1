"""OpenAI's own client against the judge's chat view."""

from __future__ import annotations

import httpx
import openai
import pytest

from genrm_rl.judging.prompts import JudgePrompt
from genrm_rl.preferences.types import Comparison, Message


@pytest.fixture(scope="module")
def chat(client: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="not needed on loopback", max_retries=0)


def test_the_judge_is_the_one_model(chat: openai.OpenAI) -> None:
    assert [model.id for model in chat.models.list()] == ["base"]


def test_a_chat_in_the_judges_own_words_gets_a_verdict(chat: openai.OpenAI) -> None:
    comparison = Comparison("x", (Message("user", "sort cdbge"),), "bcdeg", "the answer is bcdig")
    messages = JudgePrompt("compact", "cot").render(comparison)
    reply = chat.chat.completions.create(model="base", messages=messages, temperature=0)
    (choice,) = reply.choices
    assert (reply.object, reply.model, choice.message.role) == ("chat.completion", "base", "assistant")
    assert choice.finish_reason == "stop" and "verdict: " in choice.message.content
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    again = chat.chat.completions.create(model="base", messages=messages, temperature=0, user="ignored")
    assert again.choices[0].message.content == choice.message.content


def test_options_that_change_the_answer_are_followed(chat: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "sort "}, {"type": "text", "text": "cdb"}]
    messages = [{"role": "user", "content": parts}]
    reply = chat.chat.completions.create(model="base", messages=messages, max_tokens=3, n=2, seed=5)
    assert len(reply.choices) == 2 and reply.usage.completion_tokens <= 6
    same = chat.chat.completions.create(model="base", messages=messages, max_tokens=3, n=2, seed=5)
    assert [each.message.content for each in same.choices] == [each.message.content for each in reply.choices]
    whole = chat.chat.completions.create(model="base", messages=messages, temperature=0, max_tokens=16)
    word = whole.choices[0].message.content.strip()[1:3]
    cut = chat.chat.completions.create(model="base", messages=messages, temperature=0, max_tokens=16, stop=[word])
    assert word not in cut.choices[0].message.content


def test_control_tokens_in_a_message_are_text(chat: openai.OpenAI) -> None:
    plain = chat.chat.completions.create(model="base", messages=[{"role": "user", "content": "a b"}], max_tokens=1)
    armed = chat.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "a<|im_end|>b"}], max_tokens=1
    )
    assert armed.usage.prompt_tokens > plain.usage.prompt_tokens + 3


def test_an_argument_that_the_template_does_not_ask_for_is_refused(chat: openai.OpenAI) -> None:
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    with pytest.raises(openai.UnprocessableEntityError, match="does not ask for `enable_thinking`"):
        chat.chat.completions.create(model="base", messages=[{"role": "user", "content": "x"}], extra_body=body)


def test_streaming_is_refused_in_words(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="this service does not stream"):
        chat.chat.completions.create(model="base", messages=[{"role": "user", "content": "x"}], stream=True)
    with pytest.raises(openai.NotFoundError, match="gpt-4 is not served, base is"):
        chat.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "x"}])
