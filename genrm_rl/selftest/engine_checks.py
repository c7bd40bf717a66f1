"""Engines beside a learner: the same log-probabilities, speed, and a whole alignment."""

from __future__ import annotations

import math
import shutil
from statistics import median

import numpy as np

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.model import LearnerConfig, RolloutConfig
from genrm_rl.generation import GenerationRequest
from genrm_rl.learners.packing import Segment
from genrm_rl.rollout.benchmark import engine_ratio
from genrm_rl.rollout.parity import ProbeReference, compare, parity_limit, probe_prompts
from genrm_rl.rollout.settings import model_config_json
from genrm_rl.runtime.storage import read_json
from genrm_rl.selftest.checks import CheckFailed, Figures
from genrm_rl.selftest.room import TINY_MODEL, Room
from genrm_rl.stories.align_policy import run_alignment
from placement.shapes import TINY

ANSWERS = 16  # to each probe prompt
STEPS = 3
# Requests, prompt and answer tokens of the comparison with bare vLLM.
SPEED = {"cpu": (96, 48, 48), "cuda": (512, 128, 256)}
SLOWEST = {"cpu": 0.8, "cuda": 0.9}  # pool / bare below which something is wrong


def engine_parity(room: Room) -> Figures:
    """What the engine says of its own samples against what the learner says of them, in nats."""
    policy = room.learner(TINY, room.learns())
    with room.engines(TINY, TINY_MODEL, room.rollout()) as pool:
        prompts = probe_prompts(TINY)
        requests = [
            GenerationRequest(f"{number}-{place}", prompt, 32, 1.0, 1.0, number, sampled_logprobs=True)
            for place, prompt in enumerate(prompts)
            for number in range(ANSWERS)
        ]
        answers = {result.request_id: result for result in pool.generate(requests)}
    asked, said, segments = [], [], []
    for request in requests:
        result = answers[request.request_id]
        if result.error:
            raise CheckFailed(f"an answer failed: {result.error}")
        ids, start = request.prompt_token_ids + result.token_ids, len(request.prompt_token_ids)
        asked.append(ids)
        said.append(result.sampled_logprobs_T)
        segments.append(Segment(ids, np.arange(start - 1, len(ids) - 1)))
    learned = [tuple(row.tolist()) for row in policy.logprobs(segments)]
    probe = compare(ProbeReference(tuple(asked), tuple(learned)), said, parity_limit(None, TINY_MODEL.dtype))
    figures: Figures = {
        "tokens": probe.tokens,
        "mean_nats": probe.mean_abs_difference_nats,
        "largest_nats": probe.max_abs_difference_nats,
        "limit_nats": probe.limit_nats,
    }
    if not probe.passed:
        raise CheckFailed("engine and learner differ by more than a publication allows", figures)
    return figures


def pool_speed(room: Room) -> Figures:
    """Tokens/s of the pool, and its ratio to bare vLLM."""
    model, config, rollout = TINY, TINY_MODEL, room.rollout()
    if room.machine.gpus:
        room.end_learner()
        model, config = room.large()
        rollout = room.rollout(
            enforce_eager=False, gpu_share=0.45, gpu_memory_utilization=0.4, max_in_flight=512, startup_deadline=280.0
        )
    count, prompt, tokens = SPEED[room.machine.device]
    vocabulary = int(model_config_json(TINY)["vocab_size"])  # type: ignore[call-overload]
    with room.engines(model, config, rollout) as pool:
        found = engine_ratio(
            pool, vocabulary=vocabulary, count=count, prompt_tokens=prompt, max_tokens=tokens, repeats=3
        )
    figures: Figures = {
        "pool_tokens_per_second": median(found.pool_tokens_per_second),
        "bare_tokens_per_second": median(found.bare_tokens_per_second),
        "ratio": found.ratio,
    }
    if found.ratio < SLOWEST[room.machine.device]:
        raise CheckFailed(f"the pool has {found.ratio:.2f} times the speed of bare vLLM", figures)
    return figures


def alignment(room: Room) -> Figures:
    """Three steps of Dr. GRPO against the untrained judge, everything on one machine (or one GPU)."""
    return _aligned(room, rollout=room.rollout(), learner=room.learns())


def alignment_shared(room: Room) -> Figures:
    """The same with the GPU in turn. On a CPU everything but the engines' memory goes the same ways."""
    gpus = min(1, room.machine.gpus)
    rollout = room.rollout(**({"gpu_share": 1.0, "gpu_memory_utilization": 0.4} if gpus else {}))
    learner = room.learns(zero_stage=2, gpus_per_worker=gpus)
    return _aligned(room, placement="shared", rollout=rollout, learner=learner)


def _aligned(room: Room, *, rollout: RolloutConfig, learner: LearnerConfig, placement: str = "fixed") -> Figures:
    room.end_learner()
    folder = room.place.folder / "runs"
    shutil.rmtree(folder, ignore_errors=True)
    config = AlignConfig.model_validate(
        {
            "run": {"id": "selftest", "root": str(folder)},
            "model": TINY_MODEL.model_dump(),
            "prompts": {"train": [{"world": "train"}], "test": [{"world": "test"}]},
            "placement": placement,
            "sampling": {"max_tokens": 32},
            "rollout": rollout.model_dump(),
            "learner": learner.model_dump(),
            "reward": {"rule": "circular", "greedy": True},
            "judge_model": {"name": "tiny", "max_context": 320, "dtype": "float32"},
            "judge": {"template": "compact", "max_rationale": 96},
            "judge_rollout": rollout.model_dump(),
            "ppo": {"steps": STEPS, "prompts_per_step": 16, "samples_per_prompt": 6, "advantage": "dr_grpo"},
            "evaluation": {"every": 0, "prompts": 40, "probes": 0, "decoding": ["greedy"]},
        }
    )
    run = run_alignment(config, room.console)
    rows = [read_json(run / f"steps/{step:05d}/metrics.json") for step in range(STEPS)]
    broken = [row["step"] for row in rows if not math.isfinite(row["train/loss"]) or row["train/empty"]]
    figures: Figures = {
        "seconds_per_step": median(row["seconds/step"] for row in rows),
        "masked_share": sum(row["reward/masked_share"] for row in rows) / STEPS,
        "engine_learner_kl": max(abs(row["train/kl_engine"]) for row in rows),
    }
    if broken:
        raise CheckFailed(f"steps {broken} learned nothing", figures)
    return figures
