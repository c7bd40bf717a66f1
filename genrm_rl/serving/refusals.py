"""How the service says no: one sentence, in the words of this service and of the OpenAI API at once."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse

from genrm_rl.rewards.wire import ABSENT_HEADER


def refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error reply. ``detail`` is what every contract here reads, ``error`` what OpenAI's clients show."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": sentence, "type": kind, "param": None, "code": None}
    return JSONResponse({"detail": sentence, "error": error}, status_code=status, headers=headers)


def unread(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A refusal of a call whose body was not read to its end: the connection can't be used again."""
    return refusal(status, sentence, {**(headers or {}), "Connection": "close"})


def absent(seconds: float) -> dict[str, str]:
    """The headers of a service without a judge: clients that know the first wait for it as long as they are told to,
    instead of giving a call up after so many tries."""
    return {ABSENT_HEADER: "1", **later(seconds)}


def later(seconds: float) -> dict[str, str]:
    """The header that says when to ask again."""
    return {"Retry-After": f"{max(1, round(seconds))}"}
