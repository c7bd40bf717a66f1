"""The learner alone: memory, arithmetic, speed. No Ray, one process."""

from __future__ import annotations

import os
import time
from statistics import median

import torch

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.attention import flash_attention_works, varlen_kernel_works
from genrm_rl.learners.benchmark import LEARNING_RATE, PlainLoop, learner_ratio, random_examples
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.selftest.checks import CheckFailed, Figures, Machine, Place
from genrm_rl.selftest.peaks import free_cache, peak
from genrm_rl.selftest.random_model import (
    CONTEXT,
    LLAMA_1B,
    LLAMA_8B,
    SMALL,
    WIDE_VOCABULARY,
    flops_per_token,
    random_model,
)
from placement.memory import GIB, trained_model
from placement.shapes import TINY, ModelShape

STEPS = 5
RATE = 1e-4
LOSS_LIMITS = {"float32": 1e-4, "bfloat16": 2e-2}  # largest relative difference of a loss
PEAK_LIMIT = 0.15  # of the prediction
TOKENS = 16384  # of the step over a wide vocabulary
MOST_BYTES = 4e9
FREED = 0.9  # of a learner's memory, by leaving
CEILING_SIZES = {"cpu": 2048, "cuda": 8192}
# Sequences of a step, tokens of each, tokens of a microbatch.
SIZES = {"cpu": (8, 256, 1024), "cuda": (64, 1024, 16384)}
# Of mixed lengths, in equal ratios: shortest, longest, how many, tokens of a microbatch.
MIXED = {"cpu": (16, 256, 8, 512), "cuda": (64, 4096, 96, 16384)}


def learner_config(machine: Machine, **changes: object) -> LearnerConfig:
    """One worker on the machine's device."""
    base = LearnerConfig(gpus_per_worker=min(1, machine.gpus), cpus_per_worker=len(os.sched_getaffinity(0)))
    return base.model_copy(update=changes)


def learner_memory(place: Place) -> Figures:
    """Peak of two steps under ZeRO-3 and under ZeRO-2 against the prediction (`placement/memory.py`)."""
    shape, _ = speed_model(place.machine)
    _, length, budget = SIZES[place.machine.device]
    figures: Figures = {"model": shape.name}
    off = {}
    for stage in (2, 3):
        config = learner_config(place.machine, zero_stage=stage, tokens_per_microbatch=budget)
        measured = _peak_gib(place, shape, config, [length] * (budget // length))
        predicted = trained_model(shape, config).total
        figures |= {f"zero{stage}_predicted_gib": predicted, f"zero{stage}_measured_gib": measured}
        off[stage] = measured / predicted - 1
    stage, worst = max(off.items(), key=lambda each: abs(each[1]))
    if abs(worst) > PEAK_LIMIT:
        raise CheckFailed(
            f"the peak under ZeRO-{stage} was {100 * worst:+.0f} % off its prediction (allowed: {PEAK_LIMIT:.0%})",
            figures,
        )
    return figures


def _peak_gib(place: Place, shape: ModelShape, config: LearnerConfig, lengths: list[int]) -> float:
    device = place.machine.device
    model = model_of(place, shape, config)
    examples = random_examples(model, lengths, target_share=1.0)
    free_cache(device)
    with peak(device) as found:
        learner = Learner(model, config)
        for _ in range(2):
            learner.step(examples, SupervisedTokens(), learning_rate=RATE)
        learner.close()
    return found[0] / GIB


def learner_logits(place: Place) -> Figures:
    """Peak of a step whose logits would be 32 GB if they all existed at once."""
    config = learner_config(place.machine, tokens_per_microbatch=TOKENS)
    model = model_of(place, WIDE_VOCABULARY, config)
    examples = random_examples(model, [CONTEXT] * (TOKENS // CONTEXT), target_share=1.0)
    with peak(place.machine.device) as found:
        learner = Learner(model, config)
        learner.step(examples, SupervisedTokens(), learning_rate=RATE)
        learner.close()
    figures: Figures = {"tokens": TOKENS, "vocabulary": WIDE_VOCABULARY.vocabulary, "peak_gb": found[0] / 1e9}
    if found[0] > MOST_BYTES:
        raise CheckFailed("the logits of a step take too much memory", figures)
    return figures


def learner_parity(place: Place) -> Figures:
    """Losses of five steps against :class:`PlainLoop` on the CPU, in every format that is trained in here."""
    examples = random_examples(TINY, [48] * 32, 0.4)
    figures: Figures = {}
    for precision, limit in LOSS_LIMITS.items():
        if precision == "bfloat16" and not place.machine.gpus:
            continue  # many CPUs have no instructions for it, and nothing trains in it there
        exact = learner_config(Machine(), tokens_per_microbatch=512, precision=precision)
        plain = PlainLoop(TINY, exact, examples, device="cpu", learning_rate=RATE)
        wanted = [plain.step() for _ in range(STEPS)]
        learner = Learner(TINY, learner_config(place.machine, tokens_per_microbatch=512, precision=precision))
        losses = [learner.step(examples, SupervisedTokens(), learning_rate=RATE).loss for _ in range(STEPS)]
        learner.close()
        worst = max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(losses, wanted, strict=True))
        figures[f"{precision}_difference"] = worst
        if not worst <= limit:
            raise CheckFailed(f"losses in {precision} differ by {worst:.2g} (relative; limit {limit:g})", figures)
    return figures


def learner_offload(place: Place) -> Figures:
    """Losses of steps between which a ZeRO-2 learner leaves its device and comes back, against those of one that stays;
    on a GPU what it gives back, as a share of what it takes, and how fast."""
    device = place.machine.device
    shape, _ = speed_model(place.machine)
    _, length, budget = SIZES[device]
    config = learner_config(place.machine, zero_stage=2, tokens_per_microbatch=budget)
    model = model_of(place, shape, config)
    examples = random_examples(model, [length] * (budget // length), target_share=1.0)
    losses: dict[bool, list[float]] = {}
    figures: Figures = {"model": shape.name}
    for leaves in (False, True):
        learner = Learner(model, config)
        losses[leaves] = []
        for _ in range(3):
            losses[leaves].append(learner.step(examples, SupervisedTokens(), learning_rate=RATE).loss)
            if leaves:
                figures |= _left_and_returned(learner, device)
        learner.close()
        free_cache(device)
    figures["largest_difference"] = max(abs(a - b) / abs(a) for a, b in zip(*losses.values(), strict=True))
    if figures["largest_difference"] > LOSS_LIMITS[config.compute_format]:
        raise CheckFailed("a learner that left its device learns otherwise than one that stayed", figures)
    if device == "cuda" and float(figures["freed_share"]) < FREED:
        raise CheckFailed(f"the learner gave back less than {FREED:.0%} of its memory", figures)
    return figures


def _left_and_returned(learner: Learner, device: str) -> Figures:
    before, began = _taken(device), time.perf_counter()
    learner.offload()
    away, left = time.perf_counter(), _taken(device)
    learner.reload()
    seconds: Figures = {"offload_seconds": away - began, "reload_seconds": time.perf_counter() - away}
    return seconds | ({"gigabytes": before / 1e9, "freed_share": 1 - left / before} if device == "cuda" else {})


def _taken(device: str) -> int:
    if device == "cpu":
        return 0
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


def learner_speed(place: Place) -> Figures:
    """Tokens/s, the share of the matrix product's ceiling, and the ratio to :class:`PlainLoop`."""
    device = place.machine.device
    sequences, length, budget = SIZES[device]
    config = learner_config(place.machine, tokens_per_microbatch=budget)
    top = matrix_flops(device, config.compute_format)
    figures: Figures = {"format": config.compute_format, "ceiling_tflops": top / 1e12}
    for shape in speed_models(place.machine):
        model = model_of(place, shape, config)
        examples = random_examples(model, [length] * sequences, target_share=0.5)
        learner = Learner(model, config.model_copy(update={"gradient_checkpointing": shape is LLAMA_8B}))
        seconds = [learner.step(examples, SupervisedTokens(), learning_rate=RATE).seconds for _ in range(1 + 3)]
        learner.close()
        rate = sequences * length / median(seconds[1:])
        figures |= {
            f"{shape.name}_tokens_per_second": rate,
            f"{shape.name}_utilisation": rate * flops_per_token(shape, length) / top,
        }
        free_cache(device)
    shape, _ = speed_model(place.machine)
    ratio = learner_ratio(
        model_of(place, shape, config), config, sequences=sequences // 2, length=length, repeats=3
    ).ratio
    return figures | {"against_plain_loop": ratio}


def learner_attention(place: Place) -> Figures:
    """Every attention that can run here, on sequences of mixed lengths: loss and gradient of the first step against
    the first one's, and tokens/s of a step."""
    shortest, longest, count, budget = MIXED[place.machine.device]
    lengths = [round(shortest * (longest / shortest) ** (i / (count - 1))) for i in range(count)]
    config = learner_config(place.machine, tokens_per_microbatch=budget)
    model = model_of(place, speed_model(place.machine)[0], config)
    examples = random_examples(model, lengths, target_share=0.5)
    figures: Figures = {"longest": longest, "mean_length": sum(lengths) / count}
    first: list[float] = []
    for name, changes in attentions(config).items():
        learner = Learner(model, config.model_copy(update=changes))
        steps = [learner.step(examples, SupervisedTokens(), learning_rate=LEARNING_RATE) for _ in range(1 + 2)]
        learner.close()
        free_cache(place.machine.device)
        found = [steps[0].loss, steps[0].grad_norm]
        first = first or found
        worst = max(abs(ours - theirs) / abs(theirs) for ours, theirs in zip(found, first, strict=True))
        figures |= {
            f"{name}_tokens_per_second": sum(lengths) / median(step.seconds for step in steps[1:]),
            f"{name}_difference": worst,
        }
        if not worst <= LOSS_LIMITS[config.compute_format]:
            raise CheckFailed(f"loss or gradient of {name} attention differ by {worst:.2g} (relative)", figures)
    return figures


def attentions(config: LearnerConfig) -> dict[str, dict[str, object]]:
    """Settings by name; the first is the one that others are held against."""
    ways: dict[str, dict[str, object]] = {
        "padded": {"attention": "sdpa", "packing": False},
        "split": {"attention": "sdpa"},
    }
    if config.compute_format == "bfloat16" and varlen_kernel_works():
        ways["varlen"] = {"attention": "auto"}
    if config.compute_format == "bfloat16" and flash_attention_works():
        ways["flash_attention_2"] = {"attention": "flash_attention_2"}
    return ways


def speed_models(machine: Machine) -> list[ModelShape]:
    """What is trained for speed: as large as the machine has room for."""
    small, large = speed_model(machine)
    return [small] if large is None else [small, large]


def speed_model(machine: Machine) -> tuple[ModelShape, ModelShape | None]:
    """The model of most checks, and a larger one where its training fits on one GPU."""
    if not machine.gpus:
        return SMALL, None
    _, _, budget = SIZES["cuda"]
    config = learner_config(machine, tokens_per_microbatch=budget, gradient_checkpointing=True)
    return LLAMA_1B, LLAMA_8B if trained_model(LLAMA_8B, config).total < 0.9 * machine.gpu_gib else None


def model_of(place: Place, shape: ModelShape, config: LearnerConfig) -> os.PathLike[str]:
    """A random model in the format that is trained."""
    dtype = torch.bfloat16 if config.compute_format == "bfloat16" else torch.float32
    return random_model(place.folder, shape, dtype, place.machine.device)


def matrix_flops(device: str, number: str, repeats: int = 10) -> float:
    """FLOP/s of a large matrix product: the most that anything here can reach."""
    size = CEILING_SIZES[device]
    a = torch.randn(size, size, device=device, dtype=getattr(torch, number))
    b = torch.randn_like(a)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    times = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / median(times[1:])
