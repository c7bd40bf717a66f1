"""What every client of the service says and understands. Light: other trainers' environments import it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

Prompt = str | Sequence[Mapping[str, str]]
NOBODY_STATUS = 502  # somebody answers for the judge and says that it is not there
BUSY_STATUS = (429, 502, 503, 504)  # asking again can help
ABSENT_HEADER = "X-Judge-Absent"  # of a 503: nobody judges there now (it starts, or ends), which is not being busy


@dataclass(frozen=True, slots=True)
class Group:
    """Responses to one prompt (a text, or messages as ``{role, content}``), judged against each other, or against
    ``reference`` under the rules that need one. ``guide`` is what the judge is told beside the prompt: ``rubric`` (a
    text, or a list of criteria) and ``known_answer``."""

    prompt: Prompt
    responses: Sequence[str]
    reference: str | None = None
    guide: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """As ``/v1/rewards`` takes it."""
        return {"prompt": self.prompt, "responses": list(self.responses), "reference": self.reference, **self.guide}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the service, read to its end: what is used of httpx's, for clients with another library."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body; what is no UTF-8 is replaced."""
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body's JSON. Raises ValueError."""
        return json.loads(self.content)


def asked_pause(reply: Reply | httpx.Response) -> float:
    """Seconds that the service wants a client to wait, 0 if it does not say."""
    asked = reply.headers.get("Retry-After", "")
    return float(asked) if asked.replace(".", "", 1).isdigit() else 0.0


def sentence_of(reply: Reply | httpx.Response) -> str:
    """What the service says about a refusal."""
    try:
        return str(reply.json()["detail"])[:500]
    except (ValueError, KeyError, TypeError):
        return reply.text[:200]


def authorisation(token: str) -> dict[str, str]:
    """The header that a service with a token wants."""
    return {"Authorization": f"Bearer {token}"} if token else {}
