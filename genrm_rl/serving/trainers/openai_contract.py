"""An OpenAI-compatible chat view of the judge: its model answers a conversation through its own chat template.

For people and tools that want to talk to the judge. Verdicts come from ``/v1/judgments``, which asks in both orders and
reads probabilities; a chat does neither. Options that would change the answer and are not supported are refused, other
fields of the OpenAI API are ignored.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from genrm_rl.config.serving import ServingConfig
from genrm_rl.errors import ModelError
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.requests import derive_seed
from genrm_rl.judging.thoughts import thought_and_answer
from genrm_rl.preferences.types import Role, content_hash
from genrm_rl.serving.desk.open_desk import OpenDesk
from genrm_rl.serving.refusals import refusal
from genrm_rl.serving.replicas.judges import RunningJudge
from genrm_rl.serving.wire import Text, one_sentence


class OpenAIRoute(APIRoute):
    """Errors in the words of the OpenAI API, beside ``detail``: its clients show no others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route, with its errors caught."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as problem:
                return refusal(problem.status_code, str(problem.detail), problem.headers)
            except RequestValidationError as problem:
                return refusal(422, one_sentence(problem))

        return answer


routes = APIRouter(tags=["OpenAI"], route_class=OpenAIRoute)
NEUTRAL = (None, False, 0, [], {}, "none", "auto", {"type": "text"})  # values that ask for nothing
UNSUPPORTED = (
    "tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "logit_bias", "response_format",
    "presence_penalty", "frequency_penalty", "audio", "modalities", "web_search_options",
)  # fmt: skip


class TextPart(BaseModel):
    """One part of a message; the judge reads text only."""

    type: Literal["text"]
    text: Text


class ChatTurn(BaseModel):
    """One message."""

    role: Role | Literal["developer"]
    content: Text | list[TextPart]

    def plain(self) -> dict[str, str]:
        """As chat templates take it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


def _not_empty(stop: str | list[str]) -> str | list[str]:
    if "" in ([stop] if isinstance(stop, str) else stop):
        raise ValueError("an empty stop text ends everything")
    return stop


Stop = Annotated[Text | Annotated[list[Text], Field(max_length=4)], AfterValidator(_not_empty)]


class ChatRequest(BaseModel):
    """What OpenAI's clients post to ``/v1/chat/completions``."""

    model_config = ConfigDict(extra="allow", frozen=True)

    messages: list[ChatTurn] = Field(min_length=1)
    model: Text | None = Field(None, description="an id of /v1/models")
    max_completion_tokens: int | None = Field(None, ge=1, description="default: what the context leaves")
    max_tokens: int | None = Field(None, ge=1, description="older name of max_completion_tokens")
    temperature: float | None = Field(None, ge=0, le=2, description="default: the judge's")
    top_p: float | None = Field(None, gt=0, le=1, description="default: the judge's")
    n: int | None = Field(None, ge=1, description="at most serving.max_votes")
    stop: Stop | None = None
    seed: int | None = Field(None, description="the same seed and messages give the same answer; default 0")
    chat_template_kwargs: dict[str, bool | int | float | str] = Field(
        {}, description="arguments of the chat template, over those of judge.chat_template_kwargs"
    )
    stream: JsonValue = None

    @model_validator(mode="after")
    def _supported(self) -> ChatRequest:
        if self.stream not in (None, False):
            raise ValueError("this service does not stream; leave out `stream`")
        for name, value in (self.model_extra or {}).items():
            if name in UNSUPPORTED and value not in NEUTRAL:
                raise ValueError(f"`{name}` is not supported; leave it out")
        return self


class ChatAnswer(BaseModel):
    """The judge's message."""

    role: Literal["assistant"] = "assistant"
    content: str = Field(description="what follows the thinking; empty if that was cut off")
    reasoning_content: str | None = Field(None, description="the thinking, without its marks")
    refusal: None = None


class Choice(BaseModel):
    """One sampled answer."""

    index: int
    message: ChatAnswer
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Usage(BaseModel):
    """Tokens; the prompt counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatReply(BaseModel):
    """What OpenAI's clients read."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ModelCard(BaseModel):
    """The served judge."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "genrm_rl"


class ModelList(BaseModel):
    """``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


@routes.get("/v1/models")
async def models(desk: OpenDesk) -> ModelList:
    """The one model that is served; its id is the judge version."""
    return ModelList(data=[ModelCard(id=desk.judges.current.version)])


@routes.post("/v1/chat/completions")
async def chat_completions(body: ChatRequest, desk: OpenDesk) -> ChatReply:
    """The judge's model answers a conversation."""
    with desk.judges.use() as judge:
        chat = await desk.aside(_chat, body, judge)
        requests = await desk.aside(_requests, body, judge, chat, desk.settings)
        results = await desk.generate(judge, requests)
    for result in results:
        if result.finish_reason == "deadline":
            raise HTTPException(504, "the judge did not finish its answer in time; ask for fewer tokens")
        if result.finish_reason == "failed":
            raise HTTPException(502, "the judge failed to answer; ask again later")
    prompt, written = len(requests[0].prompt_token_ids), sum(len(result.token_ids) for result in results)
    return ChatReply(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=results[0].weight_version,
        choices=[_choice(index, result, chat) for index, result in enumerate(results)],
        usage=Usage(prompt_tokens=prompt, completion_tokens=written, total_tokens=prompt + written),
    )


def _choice(index: int, result: GenerationResult, chat: ChatEncoder) -> Choice:
    finish: Literal["stop", "length"] = "length" if result.finish_reason == "length" else "stop"
    thought, answer = thought_and_answer(chat.with_opening(result.text))
    return Choice(index=index, message=ChatAnswer(content=answer, reasoning_content=thought), finish_reason=finish)


def _chat(body: ChatRequest, judge: RunningJudge) -> ChatEncoder:
    """The judge's own chat template, with the arguments of this call. Raises HTTPException for unknown ones."""
    own = judge.encoder.chat
    if not body.chat_template_kwargs:
        return own
    try:
        return ChatEncoder(own.tokenizer, judge.served.judge.chat_template_kwargs | body.chat_template_kwargs)
    except ModelError as problem:
        raise HTTPException(422, f"chat_template_kwargs: {judge.without_paths(problem)}") from None


def _requests(
    body: ChatRequest, judge: RunningJudge, chat: ChatEncoder, settings: ServingConfig
) -> list[GenerationRequest]:
    """One request per choice. Raises HTTPException for what the judge can't do."""
    served = judge.served
    if served.kind != "generative":
        raise HTTPException(
            404, f"model: the served judge {served.version} is a {served.kind} model and writes no text"
        )
    if body.model not in (None, served.version):
        raise HTTPException(404, f"model: {body.model} is not served, {served.version} is")
    count = body.n or 1
    if count > settings.max_votes:
        raise HTTPException(422, f"n: at most {settings.max_votes} answers may be asked for")
    turns = [turn.plain() for turn in body.messages]
    if sum(len(turn["content"]) for turn in turns) > settings.max_characters:
        raise HTTPException(413, f"messages: they have more than {settings.max_characters} characters")
    try:
        prompt = chat.conversation_ids(turns, generation=True)
    except ModelError as problem:
        raise HTTPException(422, f"messages: {judge.without_paths(problem)}") from None
    room = served.engine.max_context - len(prompt)
    limit = body.max_completion_tokens or body.max_tokens or room
    if limit > room or room < 1:
        raise HTTPException(
            422,
            f"messages: {len(prompt)} tokens and an answer of {max(1, limit)} do not fit {served.engine.max_context}",
        )
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    parts = (served.seed, "chat", served.version, content_hash(turns), body.seed or 0)
    return [
        GenerationRequest(
            request_id=f"chat/{content_hash(turns)}/{index}",
            prompt_token_ids=prompt,
            max_tokens=limit,
            temperature=served.judge.temperature if body.temperature is None else body.temperature,
            top_p=served.judge.top_p if body.top_p is None else body.top_p,
            seed=derive_seed(*parts, index),
            stop_token_ids=(chat.stop_token_id,),
            stop=stop,
        )
        for index in range(count)
    ]
