"""vLLM 0.29 behind the words of this project: one ``AsyncLLM``, its requests, and its weight phases.

Every vLLM import of the project is in the modules ``rollout/vllm_adapter*.py``.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from safetensors import safe_open
from vllm import SamplingParams
from vllm.config import WeightTransferConfig
from vllm.distributed.weight_transfer.base import WeightTransferInitRequest, WeightTransferUpdateRequest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from genrm_rl.errors import ModelError
from genrm_rl.rollout.engine_output import start_failure
from genrm_rl.rollout.errors import EngineLostError, EngineProcessDied
from genrm_rl.rollout.session import RequestSession
from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.rollout.types import EngineReport, FinishReason, GenerationRequest, GenerationResult
from genrm_rl.rollout.vllm_adapter_process import (
    WORKER_BACKENDS,
    WORKER_EXTENSION,
    end_children,
    executor_class,
    process_tree,
)
from genrm_rl.runtime.object_store import fetch

CPU_BLOCK = 32  # tokens
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for


def engine_arguments(settings: EngineSettings) -> AsyncEngineArgs:
    """vLLM's arguments for these settings.

    Prompts are prefilled whole (no chunked prefill) on CPU: vLLM 0.29 rewinds the random generator of a half-prefilled
    seeded request, which a CPU generator can't do, and the engine dies. Prefixes are shared by whole blocks, by default
    128 tokens on CPU, longer than most prompts of a small judge. 32 is the least that the CPU kernels take; it costs no
    throughput.
    """
    on_cpu = settings.device == "cpu"
    return AsyncEngineArgs(
        model=settings.model_path,
        dtype=settings.dtype,
        max_model_len=settings.max_context,
        max_num_seqs=settings.max_sequences,
        tensor_parallel_size=settings.tensor_parallel,
        enforce_eager=settings.enforce_eager,
        enable_prefix_caching=True,
        block_size=CPU_BLOCK if on_cpu else None,
        distributed_executor_backend=executor_class(settings),
        worker_extension_cls=WORKER_EXTENSION,
        weight_transfer_config=None
        if settings.lora_rank
        else WeightTransferConfig(backend=WORKER_BACKENDS.get(settings.weight_backend, settings.weight_backend)),
        enable_lora=settings.lora_rank > 0,
        max_lora_rank=next(rank for rank in RANKS if rank >= settings.lora_rank),
        max_loras=1,
        lora_target_modules=block_layers(settings.model_path) if settings.lora_rank else None,
        logprobs_mode="raw_logprobs" if settings.logprobs_of == "model" else "processed_logprobs",
        enable_chunked_prefill=False if on_cpu else None,
        max_num_batched_tokens=max(4096, settings.max_context) if on_cpu else None,
        kv_cache_memory_bytes=int(settings.kv_cache_gib * 2**30) if on_cpu else None,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        enable_sleep_mode=settings.sleep,
        disable_log_stats=True,
        seed=0,
    )


def block_layers(model_path: str) -> list[str]:
    """Names of the linear layers inside the blocks (``q_proj``, ...), from the headers of the checkpoint: where a
    learner puts LoRA. Left to itself, vLLM 0.29 wraps the output head too, and dies when it is asked for
    log-probabilities of a prompt: the head's LoRA knows of sampled positions alone."""
    found: set[str] = set()
    for file in Path(model_path).glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                block, _, layer = name.removesuffix(".weight").rpartition(".")
                in_block = any(part.isdecimal() for part in block.split("."))
                if in_block and name.endswith(".weight") and len(tensors.get_slice(name).get_shape()) == 2:
                    found.add(layer)
    return sorted(found)


def sampling_params(request: GenerationRequest) -> SamplingParams:
    """Sampling parameters of one request; text is decoded once at the end unless stop strings need it on the way."""
    return SamplingParams(
        n=1,
        temperature=request.temperature,
        top_p=request.top_p if request.temperature > 0 else 1.0,
        max_tokens=request.max_tokens,
        seed=request.seed,
        stop=list(request.stop) or None,
        stop_token_ids=list(request.stop_token_ids) or None,
        logprobs=0 if request.sampled_logprobs and not request.logprob_token_ids else None,
        logprob_token_ids=list(request.logprob_token_ids) or None,
        flat_logprobs=True,
        detokenize=bool(request.stop),
        skip_special_tokens=True,
        skip_clone=True,  # made for this one request, so vLLM may change it
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


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


class VllmEngine:
    """One ``AsyncLLM`` with the request bookkeeping of an engine actor; lives on one event loop."""

    def __init__(self, settings: EngineSettings, index: int) -> None:
        self._settings = settings
        self._index = index
        self._version = "base"
        self._llm: AsyncLLM | None = None
        self._adapter: LoRARequest | None = None
        self._adapters = 0  # that were served; vLLM wants a number of its own for each
        self._session = RequestSession("")
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
        await self.abort_all()
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

    async def sleep(self) -> None:
        """Weights to host memory, keys and values dropped. Level 1, so that waking restores whatever was served."""
        await self.llm.sleep(level=1)

    async def wake(self, what: Literal["weights", "kv_cache"]) -> None:
        """Room on the GPU again for one of the two; with both, requests are taken again."""
        await self.llm.wake_up(tags=[what])

    # -- generation -------------------------------------------------------------------------------------------------

    async def exchange(
        self, session: str, requests: Sequence[GenerationRequest], deadline: float, max_wait: float
    ) -> list[GenerationResult]:
        """Start ``requests`` and return what has finished; waits at most ``max_wait`` seconds for the first result."""
        current = self._session
        if session != current.name:
            old, self._session = current, RequestSession(session)
            current = self._session
            await old.close()
        for request in requests:
            current.start(request.request_id, self._serve(request, deadline))
        results = [] if self._dead else await current.collect(max_wait)
        if self._dead:
            raise EngineProcessDied(self._dead)
        return results

    async def abort_all(self) -> None:
        """Cancel every running request and drop results that nobody fetched."""
        old, self._session = self._session, RequestSession("")
        await old.close()

    async def answer(self, request: GenerationRequest, deadline: float) -> GenerationResult:
        """One request to its result, which may be a failure or a missed deadline. Raises EngineProcessDied."""
        result = await self._serve(request, deadline)
        if result is None:
            raise EngineProcessDied(self._dead)
        return result

    async def _serve(self, request: GenerationRequest, deadline: float) -> GenerationResult | None:
        """Run one request to its result; only a dead engine leaves it without one (None)."""
        try:
            async with asyncio.timeout(deadline):
                output = await self._final(request.prompt_token_ids, sampling_params(request), request.request_id)
            return self._result(request, output)
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

    def _engine_died(self, reason: str) -> None:
        self._dead = self._dead or f"engine {self._index}: {reason}"
        self._session.wake()

    def _failure(self, request: GenerationRequest, reason: FinishReason, error: str) -> GenerationResult:
        return GenerationResult(
            request.request_id, (), "", reason, (), self._version, self._index, f"request {request.request_id}: {error}"
        )

    def _result(self, request: GenerationRequest, output: RequestOutput | None) -> GenerationResult:
        if output is None or not output.outputs:
            return self._failure(request, "failed", "the engine returned no output")
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            return self._failure(request, "failed", f"the engine ended it with {completion.finish_reason!r}")
        token_ids = tuple(completion.token_ids)
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
            self._version,
            self._index,
            sampled_logprobs_T=sampled,
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
        """vLLM's phase 4, then forget cached prefixes, which hold keys and values of the old weights."""
        await self.llm.finish_weight_update(weight_version=version)
        await self.llm.reset_prefix_cache(reset_running_requests=True)
        self._version = version

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
        await self.llm.reset_prefix_cache(reset_running_requests=True)
        self._version = version

    async def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probabilities of the prompt tokens after the first one, one list per prompt."""

        parameters = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

        async def score(number: int, token_ids: Sequence[int]) -> list[float]:
            final = await self._final(token_ids, parameters, f"probe-{self._version}-{number}")
            if final is None or final.prompt_logprobs is None:
                raise RuntimeError("the engine returned no prompt log-probabilities")
            return [final.prompt_logprobs[i][token_ids[i]].logprob for i in range(1, len(token_ids))]

        return await asyncio.gather(*(score(number, prompt) for number, prompt in enumerate(prompts)))

    async def _final(
        self, token_ids: Sequence[int], parameters: SamplingParams, request_id: str
    ) -> RequestOutput | None:
        """The last output of one request; cancelling this aborts the request in the engine."""
        last: RequestOutput | None = None
        prompt = tokens_input(list(token_ids))
        async for output in self.llm.generate(prompt, parameters, request_id, lora_request=self._adapter):
            last = output
        return last
