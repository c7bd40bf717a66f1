"""Where the time of one alignment step goes on GPUs: a model from data sheets, not a measurement.

Decoding is limited by memory bandwidth (weights once per token of the batch, keys and values of each sequence), prefill
and training by arithmetic: 2 N floating-point operations per token forward, 6 N forward and backward, 8 N with
recomputation (Kaplan et al., arXiv 2001.08361). The efficiencies below are assumptions, stated with every table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.model import ModelConfig, RolloutConfig
from genrm_rl.rewards.rules import comparisons
from placement.hardware import Gpu
from placement.memory import GIB, NUMBER_BYTES, sequences
from placement.roles import learner_models, moved_gib
from placement.shapes import ModelShape, shape_of
from placement.turns import in_turns

BANDWIDTH_SHARE = 0.6  # of the data sheet, while decoding
MATRIX_SHARE = 0.4  # of the data sheet's dense bf16, in prefill and training
FILL = 0.5  # mean length, as a share of the configured maximum
PUBLISH_GB_PER_SECOND = {"shared_memory": 1.0, "auto": 1.0, "ipc": 100.0, "nccl": 10.0}
HOST_GB_PER_SECOND = 25.0  # between a GPU and pinned memory of the host, each way, all GPUs of a node at once
ASSUMPTIONS = (
    f"assumed: {BANDWIDTH_SHARE:.0%} of memory bandwidth when decoding, {MATRIX_SHARE:.0%} of dense bf16 in prefill "
    f"and training, texts half as long as allowed, {HOST_GB_PER_SECOND:g} GB/s between a GPU and the host"
)
Layout = Literal["split", "colocated", "shared"]
ORDERS = 2


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one PPO step. Judging overlaps with generating; on GPUs of its own it takes no time beside it. In
    ``turns`` roles that have the same GPUs in turn leave them and come back."""

    generate: float
    judge: float
    train: float
    publish: float
    turns: float
    layout: Layout

    @property
    def step(self) -> float:
        """Seconds from one step to the next."""
        both = max(self.generate, self.judge) if self.layout == "split" else self.generate + self.judge
        return both + self.train + self.publish + self.turns


def layout_of(config: AlignConfig) -> Layout:
    """Whether roles have GPUs of their own (`split`), parts of the same ones, or the same ones in turn."""
    if config.placement == "shared" and config.learner.gpus_per_worker:
        return "shared"
    least = min(config.rollout.gpu_share, config.judge_rollout.gpu_share, config.learner.gpus_per_worker or 1.0)
    return "colocated" if least < 1.0 else "split"


def step_times(config: AlignConfig, policy_gpu: Gpu, judge_gpu: Gpu, learner_gpu: Gpu) -> StepTimes:
    """Seconds of one step of ``config`` (``ppo``), by the model above."""
    config = in_turns(config)
    policy, judge = shape_of(config.model), shape_of(config.judge_model)
    answers = config.ppo.prompts_per_step * config.ppo.samples_per_prompt
    answer = FILL * config.sampling.max_tokens
    question = FILL * (config.model.max_context - config.sampling.max_tokens)
    generate = decoding_seconds(policy, config.rollout, config.model, policy_gpu, answers, question, answer)
    judgments = comparisons_per_step(config) * ORDERS * (1 if config.reward.greedy else config.reward.votes)
    judged = decoding_seconds(
        judge, config.judge_rollout, config.judge_model, judge_gpu, judgments,
        question + 2 * answer, FILL * config.judge.max_rationale, engines=config.serving.max_replicas,
    )  # fmt: skip
    train = _training(config, policy, learner_gpu, learned_tokens(config))
    layout = layout_of(config)
    turns = _turns(config, policy, judge) if layout == "shared" else 0.0
    return StepTimes(generate, judged, train, _publish(config, policy), turns, layout)


def comparisons_per_step(config: AlignConfig) -> int:
    """Pairs of answers that the judge compares in a step, each in both orders and with all its votes."""
    return config.ppo.prompts_per_step * comparisons(config.reward.rule, config.ppo.samples_per_prompt)


def judge_gpu_hours_per_million(config: AlignConfig, times: StepTimes) -> float:
    """GPU-hours of the judge's replicas for a million comparisons, if they never wait."""
    gpus = config.serving.max_replicas * config.judge_rollout.tensor_parallel * config.judge_rollout.gpu_share
    return times.judge * gpus / 3600 * 1e6 / comparisons_per_step(config)


def decoding_seconds(
    shape: ModelShape,
    rollout: RolloutConfig,
    model: ModelConfig,
    gpu: Gpu,
    requests: float,
    prompt: float,
    completion: float,
    engines: int | None = None,
) -> float:
    """Seconds in which the engines answer ``requests`` of ``prompt`` tokens with ``completion`` tokens each."""
    engines = engines or rollout.engines
    number = NUMBER_BYTES[model.dtype]
    gpus = rollout.tensor_parallel  # a share limits memory; the arithmetic is the whole GPU's while others rest
    fitting = sequences(shape, rollout, model, gpu.memory) * model.max_context / (prompt + completion)
    batch = max(1.0, min((rollout.max_in_flight + 1) // 2, requests / engines, fitting))
    bandwidth = gpu.bandwidth * 1e9 * BANDWIDTH_SHARE * gpus
    arithmetic = gpu.bf16 * 1e12 * MATRIX_SHARE * gpus
    context = prompt + completion / 2
    token = max(
        (shape.parameters * number + batch * context * shape.kv_bytes(number)) / bandwidth,
        2 * shape.parameters * batch / arithmetic,
    )
    prefill = 2 * shape.parameters * prompt * requests / engines / arithmetic
    return prefill + requests / engines / batch * completion * token


def learned_tokens(config: AlignConfig) -> float:
    """Tokens of the questions and answers that a step learns from."""
    answers = config.ppo.prompts_per_step * config.ppo.samples_per_prompt
    return answers * FILL * config.model.max_context


def reading_passes(config: AlignConfig) -> int:
    """Passes over them that only read: reference, values, and old log-probabilities where more than one update needs
    them."""
    return 1 + (config.ppo.advantage == "gae") + (not config.ppo.one_update)


def _training(config: AlignConfig, shape: ModelShape, gpu: Gpu, tokens: float) -> float:
    """Policy update, critic update, and the passes that only read."""
    learner = config.learner
    update = 8 if learner.gradient_checkpointing else 6
    critic = config.ppo.advantage == "gae"
    passes = (1 + critic) * update * config.ppo.epochs + 2 * reading_passes(config)
    speed = gpu.bf16 * 1e12 * MATRIX_SHARE * learner.workers
    return passes * shape.parameters * tokens / speed


def _turns(config: AlignConfig, policy: ModelShape, judge: ModelShape) -> float:
    """Learners to the host and back, and the weights of the judge, which nobody publishes anew, the other way."""
    moved = moved_gib(learner_models(config), policy, config.learner)
    if config.serves_judge:
        moved += judge.parameters * NUMBER_BYTES[config.judge_model.dtype] / GIB
    return 2 * moved * GIB / 1e9 / HOST_GB_PER_SECOND


def _publish(config: AlignConfig, shape: ModelShape) -> float:
    size = shape.parameters * NUMBER_BYTES[config.model.dtype] / 1e9
    return size / PUBLISH_GB_PER_SECOND[config.rollout.weight_backend]
