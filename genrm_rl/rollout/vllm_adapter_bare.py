"""vLLM itself, without the bookkeeping of an engine actor: what an engine starts with and is measured against."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vllm.inputs.engine import tokens_input
from vllm.v1.engine.async_llm import AsyncLLM

from genrm_rl.generation import GenerationRequest
from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.rollout.vllm_adapter_arguments import engine_arguments, sampling_params


def bare_llm(settings: EngineSettings) -> AsyncLLM:
    """vLLM itself with these settings. It takes the event loop that first asks it for something."""
    return AsyncLLM.from_engine_args(engine_arguments(settings))


async def count_tokens(llm: AsyncLLM, requests: Sequence[GenerationRequest]) -> int:
    """Generate all requests as vLLM's examples do, one coroutine each, and count the generated tokens."""

    async def one(request: GenerationRequest) -> int:
        prompt = tokens_input(list(request.prompt_token_ids))
        tokens = 0
        async for output in llm.generate(prompt, sampling_params(request), request.request_id):
            tokens = len(output.outputs[0].token_ids)
        return tokens

    return sum(await asyncio.gather(*(one(request) for request in requests)))
