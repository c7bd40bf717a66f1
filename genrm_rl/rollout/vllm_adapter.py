"""vLLM 0.29 behind the words of this project: one ``AsyncLLM``, its requests, and its weight phases.

Every vLLM import of the project is in the modules ``rollout/vllm_adapter*.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from vllm import SamplingParams
from vllm.distributed.weight_transfer.base import WeightTransferInitRequest, WeightTransferUpdateRequest
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from genrm_rl.errors import ModelError
from genrm_rl.generation import FinishReason, GenerationRequest, GenerationResult
from genrm_rl.rollout.engine_output import start_failure
from genrm_rl.rollout.errors import EngineLostError, EngineProcessDied
from genrm_rl.rollout.session import RequestSession
from genrm_rl.rollout.settings import EngineSettings, SleepLevel
from genrm_rl.rollout.spans import VersionSpans
from genrm_rl.rollout.types import EngineReport
from genrm_rl.rollout.vllm_adapter_arguments import sampling_params
from genrm_rl.rollout.vllm_adapter_bare import bare_llm
from genrm_rl.rollout.vllm_adapter_process import end_children, process_tree
from genrm_rl.runtime.object_store import fetch


class VllmEngine:
    """One ``AsyncLLM`` with the request bookkeeping of an engine actor; lives on one event loop."""

    def __init__(self, settings: EngineSettings, index: int) -> None:
        self._settings = settings
        self._index = index
        self._version = "base"
        self._updates = 0
        self._llm: AsyncLLM | None = None
        self._adapter: LoRARequest | None = None
        self._adapters = 0  # that were served; vLLM wants a number of its own for each
        self._session = RequestSession()
        self._names = itertools.count()
        self._spans = VersionSpans()
        self._dead = ""

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> EngineReport:
        """Start vLLM's processes and load the model, in a thread: that takes minutes for a large model, in which the
        loop answers health checks. Raises EngineLostError with the cause if vLLM does not start, and ModelError for
        weights that compute no numbers."""
        begun = time.perf_counter()
        await asyncio.to_thread(fetch, self._settings.model_path)
        try:
            self._llm = await asyncio.to_thread(bare_llm, self._settings)
        except Exception as error:  # a bare RuntimeError; vLLM's process has written why
            raise EngineLostError(start_failure(self._index, error)) from error
        await self._check_numbers()
        return await self.report(seconds=time.perf_counter() - begun)

    async def _check_numbers(self) -> None:
        """Headers don't show a NaN among the weights; the first log-probabilities do."""
        tokens = range(1, min(9, self.llm.model_config.get_vocab_size()))
        (logprobs,) = await self.prompt_logprobs([list(tokens)])
        if not all(map(math.isfinite, logprobs)):
            path, dtype = self._settings.model_path, self._settings.dtype
            await self.shutdown()
            raise ModelError(
                f"the log-probabilities of {path} are not finite numbers in {dtype}, so its weights hold NaN or "
                "infinity; copy them again, or set model.dtype to float32 if they are too large for bfloat16"
            )

    async def report(self, seconds: float = 0.0) -> EngineReport:
        """Version, process ids of the actor and of vLLM, and start-up seconds."""
        pid = os.getpid()
        return EngineReport(self._index, pid, process_tree(pid), self._version, seconds)

    async def shutdown(self) -> None:
        """Stop all requests and vLLM's processes, also those of a start that is not finished."""
        await self._session.close()
        if self._llm is not None:
            self._llm.shutdown(timeout=1)
            self._llm = None
        else:
            end_children()

    @property
    def llm(self) -> AsyncLLM:
        """The running engine."""
        if self._llm is None:
            raise RuntimeError("the engine has not been started")
        if self._llm.errored:
            raise EngineProcessDied(self._dead or "vLLM's engine process is gone")
        return self._llm

    async def sleep(self, level: SleepLevel) -> None:
        """Keys and values are dropped, weights brought to host memory (1) or dropped too (2); nothing without
        ``EngineSettings.sleep``. After level 2 an engine has to be given weights when it wakes."""
        if self._settings.sleep:
            await self.llm.sleep(level=level)

    async def wake(self, *what: Literal["weights", "kv_cache"]) -> None:
        """Room on the GPU again for these; with both, requests are taken again."""
        if self._settings.sleep:
            await self.llm.wake_up(tags=list(what))

    # -- generation -------------------------------------------------------------------------------------------------

    async def exchange(
        self, requests: Sequence[tuple[int, GenerationRequest]], deadline: float, max_wait: float
    ) -> list[tuple[int, GenerationResult]]:
        """Start ``requests`` and return what has finished; waits at most ``max_wait`` seconds for the first result."""
        for number, request in requests:
            self._session.start(number, self._serve(request, deadline))
        results = [] if self._dead else await self._session.collect(max_wait)
        if self._dead:
            raise EngineProcessDied(self._dead)
        return results

    def drop(self, numbers: Sequence[int]) -> None:
        """Cancel these requests, and drop results of theirs that nobody fetched."""
        self._session.drop(numbers)

    async def answer(self, request: GenerationRequest, deadline: float) -> GenerationResult:
        """One request to its result, which may be a failure or a missed deadline. Raises EngineProcessDied."""
        result = await self._serve(request, deadline)
        if result is None:
            raise EngineProcessDied(self._dead)
        return result

    async def _serve(self, request: GenerationRequest, deadline: float) -> GenerationResult | None:
        """Run one request to its result; only a dead engine leaves it without one (None)."""
        name = f"{request.request_id}-{next(self._names)}"
        self._spans.begin(name, self._version)
        try:
            async with asyncio.timeout(deadline):
                output = await self._final(request.prompt_token_ids, sampling_params(request), name)
            return self._result(request, output, name)
        except TimeoutError:
            return self._failure(request, "deadline", f"no result within {deadline:g} s")
        except (VLLMClientError, ValueError) as error:
            return self._failure(request, "failed", str(error))
        except (EngineDeadError, EngineProcessDied) as error:
            return self._engine_died(str(error))
        except EngineGenerateError as error:
            if self._llm is not None and self._llm.errored:
                return self._engine_died(str(error))
            return self._failure(request, "failed", str(error.__cause__ or error))
        finally:
            self._spans.end(name)

    def _engine_died(self, reason: str) -> None:
        self._dead = self._dead or f"engine {self._index}: {reason}"
        self._session.wake()

    def _failure(self, request: GenerationRequest, reason: FinishReason, error: str) -> GenerationResult:
        return GenerationResult(
            request.request_id, (), "", reason, (), self._version, self._index, f"request {request.request_id}: {error}"
        )

    def _result(self, request: GenerationRequest, output: RequestOutput | None, name: str) -> GenerationResult:
        if output is None or not output.outputs:
            return self._failure(request, "failed", "the engine returned no output")
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            return self._failure(request, "failed", f"the engine ended it with {completion.finish_reason!r}")
        token_ids = tuple(completion.token_ids)
        version, later = self._spans.of(name, len(token_ids))
        text = completion.text if request.stop else self._decode(token_ids)
        width = len(request.logprob_token_ids)
        rows: tuple[tuple[float, ...], ...] = ()
        sampled: tuple[float, ...] = ()
        flat = completion.logprobs
        # Each position holds the sampled token first, then the requested ids in the request's order.
        if width:
            rows = tuple(tuple(flat.logprobs[start + 1 : start + 1 + width]) for start in flat.start_indices)
        if request.sampled_logprobs:
            sampled = tuple(flat.logprobs[start] for start in flat.start_indices)
        return GenerationResult(
            request.request_id,
            token_ids,
            text,
            completion.finish_reason,
            rows,
            version,
            self._index,
            sampled_logprobs_T=sampled,
            later_versions=later,
            cached_prompt_tokens=output.num_cached_tokens or 0,
        )

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self.llm.get_tokenizer().decode(token_ids, skip_special_tokens=True)

    # -- weights ----------------------------------------------------------------------------------------------------

    async def pause(self) -> None:
        """Freeze scheduling, keep running requests."""
        await self.llm.pause_generation(mode="keep", clear_cache=False)

    async def resume(self) -> None:
        """Continue scheduling."""
        await self.llm.resume_generation()

    async def init_weight_transfer_engine(self, init_info: dict) -> None:
        """vLLM's phase 1."""
        await self.llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info=init_info))

    async def start_weight_update(self) -> None:
        """vLLM's phase 2."""
        await self.llm.start_weight_update()

    async def update_weights(self, update_info: dict) -> None:
        """vLLM's phase 3."""
        await self.llm.update_weights(WeightTransferUpdateRequest(update_info=update_info))

    async def finish_weight_update(self, version: str) -> None:
        """vLLM's phase 4. Requests that run or wait keep their keys and values and go on with the new weights; new ones
        find none of the old in the prefix cache, because its entries are salted with the number of the update."""
        await self.llm.finish_weight_update(weight_version=version)
        self._swapped(version)

    def _swapped(self, version: str) -> None:
        # The engine stands still since several calls: every token of the old weights has arrived in vLLM's front end.
        states = self.llm.output_processor.request_states.values()
        self._spans.swap(((s.external_req_id, s.detokenizer.num_output_tokens()) for s in states), version)
        self._version = version
        self._updates += 1

    async def cancel_weight_update(self) -> None:
        """Close an update that was left open, so that the next can start; does nothing if none is."""
        if not self._settings.lora_rank:
            await self.llm.collective_rpc("close_weight_update")

    async def serve_adapter(self, version: str, files: Mapping[str, bytes]) -> None:
        """Answer with a LoRA adapter from now on, with the base alone if it has no ``files``; the one before is
        dropped. vLLM reads the files once, from a folder of this node that is gone afterwards."""
        old, self._adapter = self._adapter, None
        if old is not None:
            await self.llm.remove_lora(old.lora_int_id)
        if files:
            with tempfile.TemporaryDirectory(prefix="genrm_rl_adapter_") as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                self._adapters += 1
                adapter = LoRARequest(version, self._adapters, folder)
                await self.llm.add_lora(adapter)
                self._adapter = adapter
        self._swapped(version)

    async def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probabilities of the prompt tokens after the first one, one list per prompt, before all that waits."""

        parameters = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

        async def score(number: int, token_ids: Sequence[int]) -> list[float]:
            final = await self._final(token_ids, parameters, f"probe-{self._version}-{number}", priority=-1)
            if final is None or final.prompt_logprobs is None:
                raise RuntimeError("the engine returned no prompt log-probabilities")
            return [final.prompt_logprobs[i][token_ids[i]].logprob for i in range(1, len(token_ids))]

        return await asyncio.gather(*(score(number, prompt) for number, prompt in enumerate(prompts)))

    async def _final(
        self, token_ids: Sequence[int], parameters: SamplingParams, request_id: str, priority: int = 0
    ) -> RequestOutput | None:
        """The last output of one request; cancelling this aborts the request in the engine."""
        last: RequestOutput | None = None
        prompt, adapter = tokens_input(list(token_ids), cache_salt=str(self._updates)), self._adapter
        async for output in self.llm.generate(prompt, parameters, request_id, lora_request=adapter, priority=priority):
            last = output
        return last
