"""Bare vLLM ``AsyncLLM`` in a process of its own, without Ray: what the engine pool is measured against."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType

from genrm_rl.generation import GenerationRequest
from genrm_rl.rollout.errors import EngineLostError
from genrm_rl.rollout.settings import EngineSettings, engine_environment

START_SECONDS = 900.0


class BareEngine:
    """Starts the process and times generations in it. The engine settings are those of a pool's engine."""

    def __init__(self, settings: EngineSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon: vLLM starts a process of its own under it, which daemons may not.
        self._process = context.Process(target=_serve, args=(theirs, settings), name="bare-vllm")
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_SECONDS):
            self.__exit__(None, None, None)
            raise EngineLostError(f"bare vLLM did not start within {START_SECONDS:g} s")
        self._receive()

    def __enter__(self) -> BareEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def generate(self, requests: Sequence[GenerationRequest]) -> tuple[int, float]:
        """Generated tokens and seconds for all ``requests``, given to vLLM at once."""
        self._pipe.send(list(requests))
        return self._receive()

    def _receive(self) -> tuple[int, float]:
        try:
            return self._pipe.recv()
        except EOFError as error:
            raise EngineLostError("bare vLLM ended; its own messages are above") from error


def _serve(pipe: Connection, settings: EngineSettings) -> None:
    """The process: start, then answer each list of requests with (tokens, seconds) until the pipe closes."""
    os.environ.update(engine_environment(settings))
    asyncio.run(_answer(pipe, settings))


async def _answer(pipe: Connection, settings: EngineSettings) -> None:
    from genrm_rl.rollout.vllm_adapter_bare import bare_llm, count_tokens

    llm = bare_llm(settings)
    pipe.send((0, 0.0))
    try:
        while True:
            requests = await asyncio.to_thread(pipe.recv)
            begun = time.perf_counter()
            tokens = await count_tokens(llm, requests)
            pipe.send((tokens, time.perf_counter() - begun))
    except EOFError:
        llm.shutdown(timeout=1)
