"""The desk over HTTP: one page, and four calls that need the token of a person's link."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from genrm_rl.errors import DataError, RunDirectoryError
from genrm_rl.labelling.book import Book
from genrm_rl.labelling.desk import times
from genrm_rl.labelling.rules import shown_swapped
from genrm_rl.labelling.types import FLIPPED, Choice, Label, Task
from genrm_rl.preferences.turns import BadRow, check_encodable
from genrm_rl.serving.operations.static_page import read_page

PAGE = Path(__file__).with_name("page.html")
MOST_BYTES = 64 * 1024  # of a call: a label and its reason
READ_SECONDS = 20.0  # until a call's body has come
LONGEST_LOOK = 86_400.0  # seconds; more is a clock that is wrong
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Wire(BaseModel):
    """A call's body: nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelCall(Wire):
    """``POST /api/label``: the side that is better, as it was shown (``a``: side A)."""

    task: Annotated[str, Field(max_length=64)]
    choice: Choice
    reason: str = ""
    seconds: Annotated[float | None, Field(ge=0, le=LONGEST_LOOK, allow_inf_nan=False)] = None


class UndoCall(Wire):
    """``POST /api/undo``: the task that was labelled last. Sent twice, it is undone once."""

    task: Annotated[str, Field(max_length=64)]


class Refused(Exception):
    """A call that gets no answer but a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class DeskService:
    """The calls. They run one after another in one event loop, so nothing is locked."""

    def __init__(self, book: Book, tokens: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self._book, self._desk, self._clock = book, book.desk, clock
        self._tokens = dict(tokens)
        self.changed = clock()  # when somebody labelled or undid last

    def app(self) -> Starlette:
        """For an ASGI server."""
        calls = {"/api/next": ("GET", self.next), "/api/label": ("POST", self.label), "/api/undo": ("POST", self.undo)}
        routes = [Route(path, _answered(call), methods=[method]) for path, (method, call) in calls.items()]
        return Starlette(routes=[Route("/", _page), Route("/healthz", _health), *routes])

    async def next(self, request: Request) -> dict[str, Any]:
        """What this person sees now."""
        return self._view(self._who(request))

    async def label(self, request: Request) -> dict[str, Any]:
        """Keep a label, and answer with what comes next. The same label sent again changes nothing."""
        annotator = self._who(request)
        call = await _body(request, LabelCall)
        longest = self._desk.config.longest_reason
        if len(call.reason) > longest:
            raise Refused(422, f"the reason has more than {longest} characters; shorten it")
        task = self._desk.tasks.get(call.task)
        if task is None:
            raise Refused(404, "there is no such comparison at this desk; load the page again")
        swapped = shown_swapped(task, annotator, self._desk.seed)
        choice = FLIPPED[call.choice] if swapped else call.choice
        said = Label(task.id, annotator, choice, call.reason.strip(), call.seconds, self._clock(), swapped)
        if self._book.say(said):
            self.changed = self._clock()
        return self._view(annotator)

    async def undo(self, request: Request) -> dict[str, Any]:
        """Take a label back, and answer with its task and what was said."""
        annotator = self._who(request)
        call = await _body(request, UndoCall)
        before = self._book.take_back(call.task, annotator, self._clock())
        if before is not None:
            self.changed = self._clock()
        return self._view(annotator, before)

    def _who(self, request: Request) -> str:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        found = [name for name, token in self._tokens.items() if hmac.compare_digest(given.encode(), token.encode())]
        if scheme.lower() != "bearer" or not found:
            raise Refused(401, "this link is not valid (any more); ask for another one")
        return found[0]

    def _view(self, annotator: str, undone: Label | None = None) -> dict[str, Any]:
        """The person's page: a task, or why there is none."""
        desk = self._desk
        task = None if desk.enough and undone is None else self._book.show(annotator, self._clock())
        mine = desk.by(annotator)
        return {
            "annotator": annotator,
            "state": "task" if task else "done" if desk.enough else "wait",
            "task": task and _shown(task, shown_swapped(task, annotator, desk.seed)),
            "reason": undone.reason if undone is not None else "",
            "last": desk.last(annotator),
            "longest_reason": desk.config.longest_reason,
            "progress": {"mine": len(mine), "settled": desk.settled_count, "needed": desk.needed, **times(mine)},
        }


def _shown(task: Task, swapped: bool) -> dict[str, Any]:
    """A task as a person sees it: nothing says where the answers come from, or what the judge thinks."""
    first, second = (task.answer_b, task.answer_a) if swapped else (task.answer_a, task.answer_b)
    criteria = [": ".join(filter(None, (each.name, each.description))) for each in task.guide.rubric]
    return {
        "id": task.id,
        "prompt": [{"role": turn.role, "content": turn.content} for turn in task.prompt],
        "a": first,
        "b": second,
        "criteria": criteria,
        "known_answer": task.guide.known_answer,
    }


def _answered(call: Callable[[Request], Awaitable[dict[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
    """The call's answer as JSON, or the sentence of what is wrong."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await call(request), headers=PRIVATE)
        except Refused as problem:
            status, sentence = problem.status, str(problem)
        except DataError as problem:
            status, sentence = 409, str(problem)
        except RunDirectoryError as problem:
            status, sentence = 507, str(problem)
        return JSONResponse({"detail": sentence}, status, headers={**PRIVATE, "Connection": "close"})

    return answer


async def _body(request: Request, kind: type[Any]) -> Any:
    """The body, whole, in time and of a bounded size."""
    taken, size = [], 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                taken.append(part)
                size += len(part)
                if size > MOST_BYTES:
                    raise Refused(413, f"a call may have {MOST_BYTES} bytes")
    except TimeoutError:
        raise Refused(408, f"the call did not come within {READ_SECONDS:g} seconds; send it again") from None
    try:
        found = kind.model_validate_json(b"".join(taken))
        check_encodable(*(value for value in found.model_dump().values() if isinstance(value, str)))
        return found
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise Refused(422, f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from None
    except BadRow as problem:
        raise Refused(422, str(problem)) from None


async def _page(request: Request) -> Response:
    """It holds nothing; what it asks for needs the token that stands behind # in its link, which no server is sent."""
    text, headers = read_page(PAGE)
    return HTMLResponse(text, headers={**headers, **PRIVATE})


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})
