"""A first configuration from what `genrm-rl init` saw: sizes that fit, and why, as comments beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from genrm_rl.bootstrap.first_look import (
    Lengths,
    Machine,
    Pairs,
    in_words,
    judge_for,
    look_at_machine,
    look_at_model,
    look_at_pairs,
    measure,
    quoted,
)
from genrm_rl.config import LearnerConfig, ModelConfig, RolloutConfig, RunConfig
from genrm_rl.errors import ConfigError, EnvironmentProblem
from genrm_rl.models import ResolvedModel
from genrm_rl.runtime.storage import write_atomic
from placement import memory
from placement.shapes import ModelShape, shape_of

LEARNER_SHARE, ENGINE_SHARE = 0.5, 0.2  # of the free memory, which both have at the same time
MICROBATCHES = (16384, 8192, 4096, 2048, 1024)  # tokens
CPU_PARAMETERS = 50e6  # above it two cores need minutes for what the tiny model does in seconds
TEST_PAIRS, CPU_PAIRS, CPU_TEST_PAIRS, GATE_PAIRS = 200, 60, 24, 150
TEST_SHARE = 5  # at most one pair in so many is held out for the test


@dataclass(frozen=True)
class Sizes:
    """What fits: settings of learner and engines, and the memory that they are said to take, GiB."""

    learner: LearnerConfig
    rollout: RolloutConfig
    learner_gib: float
    engine_gib: float


def write_first_config(pairs: Path, model: str, out: Path, run_id: str | None = None) -> str:
    """Look, decide, and write ``out``; returns what it says in its comments. Raises ConfigError if ``out`` exists,
    DataError, ModelError or EnvironmentProblem for what can't be used."""
    if out.exists():
        raise ConfigError(f"{out} exists and is not overwritten; give another --out, or remove it")
    found, known, machine = look_at_pairs(pairs), look_at_model(model), look_at_machine()
    lengths = measure(found.pairs, known, judge_for(known))
    text = first_config(found, known, lengths, machine, run_id or _id_of(out))
    RunConfig.model_validate(yaml.safe_load(text))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, text)
    return "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))


def sizes_for(shape: ModelShape, context: int, machine: Machine) -> Sizes:
    """The largest microbatch and cache that fit by `placement/memory.py`. Raises EnvironmentProblem if none does."""
    precision = "bfloat16" if machine.gpus else "float32"
    room = machine.gpu_memory if machine.gpus else machine.memory
    number = memory.NUMBER_BYTES[precision]
    sequence = shape.kv_bytes(number) * context / memory.GIB
    cache = round(max(sequence * 4, min(ENGINE_SHARE * room, sequence * 128)), 1) or 0.1
    engine = shape.parameters * number / memory.GIB + cache
    for checkpointing in (False, True):
        for tokens in MICROBATCHES:
            learner = LearnerConfig(
                workers=max(1, machine.gpus - 1),
                gpus_per_worker=float(bool(machine.gpus)),  # of a machine's only GPU each role gets a share
                cpus_per_worker=float(min(machine.cores, 8)),
                zero_stage=2,
                gradient_checkpointing=checkpointing,
                tokens_per_microbatch=tokens,
            )
            needed = memory.trained_model(shape, learner.model_copy(update={"precision": precision})).total
            if tokens >= context and needed <= LEARNER_SHARE * room:
                rollout = RolloutConfig(kv_cache_gib=cache, max_in_flight=max(4, min(256, 2 * int(cache / sequence))))
                return Sizes(learner, rollout, needed, engine)
    raise EnvironmentProblem(
        f"{shape.name} with judgments of {context} tokens needs {needed:.1f} GiB to learn, and here are "
        f"{LEARNER_SHARE * room:.1f} GiB for that; choose a smaller --model, or the machine that `genrm-rl plan "
        "--suggest any` names"
    )


def first_config(pairs: Pairs, model: ResolvedModel, lengths: Lengths, machine: Machine, run_id: str) -> str:
    """The YAML text."""
    context = lengths.context
    named = model.name if model.name in ("tiny", "smollm2") or not model.path.is_dir() else str(model.path)
    shape = shape_of(ModelConfig(name=model.name if model.name in ("tiny", "smollm2") else str(model.path)))
    sizes, judge = sizes_for(shape, context, machine), judge_for(model)
    slow = not machine.gpus and model.parameters > CPU_PARAMETERS
    tested = min(CPU_TEST_PAIRS if slow else TEST_PAIRS, max(1, len(pairs.pairs) // TEST_SHARE))
    learner, rollout = sizes.learner, sizes.rollout
    gpus = f"{machine.gpus} GPUs of {machine.gpu_memory:.0f} GiB" if machine.gpus else "no GPU"
    return f"""\
# Written by `genrm-rl init`. What it saw:
# pairs: {pairs.path}: {len(pairs.pairs):,} pairs of {pairs.rows:,} rows, read as `{pairs.layout or "pair"}`
# columns: {", ".join(pairs.columns)}
# rows left out: {in_words(pairs.refused)}
# model: {model.name}, {model.parameters / 1e6:,.0f} million parameters, {model.max_position or "no limit of"} tokens
# judgments: median {lengths.median:,} tokens, longest {lengths.longest:,}; {context:,} hold {lengths.share:.0%} of them
# machine: {machine.cores} cores, {machine.memory:.0f} GiB of memory free, {gpus}
# Every setting is explained by `genrm-rl bootstrap --help SECTION`.
run: {{id: {quoted(run_id)}, seed: 0}}
model:
  name: {quoted(named)}
  max_context: {context} # tokens of question, both answers and judgment; longer pairs are left out and counted
  dtype: {"bfloat16" if machine.gpus else "float32"} # of the engines
judge:
  template: {judge.template} # how the judge is asked
  max_rationale: {judge.max_rationale} # tokens before the verdict
  force_verdict: {str(judge.force_verdict).lower()} # ask for a verdict line that was forgotten
data:
  root: {quoted(pairs.path.parent)}
  on_bad_row: skip # bad rows go to rejects.jsonl of the run; `fail` stops at the first
{_sides(pairs, tested, CPU_PAIRS if slow else None)}
rollout:
  kv_cache_gib: {rollout.kv_cache_gib} # on a CPU; engine with weights: {sizes.engine_gib:.1f} GiB
  max_in_flight: {rollout.max_in_flight} # judgments at once
learner:
  workers: {learner.workers}
  gpus_per_worker: {learner.gpus_per_worker}
  cpus_per_worker: {learner.cpus_per_worker}
  zero_stage: {learner.zero_stage}
  gradient_checkpointing: {str(learner.gradient_checkpointing).lower()}
  tokens_per_microbatch: {learner.tokens_per_microbatch} # {sizes.learner_gib:.1f} GiB, by placement/memory.py
bootstrap:
  methods: [llm_judge, bradley_terry, star_dpo] # the untrained judge, a scalar reward model, the generative one
  iterations: 1
  samples_per_order: {2 if slow else 4} # traces of each pair, in both orders
  gate_pairs: {CPU_TEST_PAIRS if slow else GATE_PAIRS} # on which a new judge has to be better
evaluation: {{pairs: {tested}, decoding: [{"sampled" if slow else "sampled, greedy"}]}}
"""


def _sides(pairs: Pairs, tested: int, limit: int | None) -> str:
    """The sources of train, gate and test, with the reason of the split."""
    lines = []
    if limit and "test" not in pairs.sides:
        limit += tested  # the same draw, so that these are what leaves train
    for side in ("train", "gate", "test"):
        source = [f"path: {quoted(pairs.path.name)}"]
        most = tested if side == "test" else limit if side == "train" else None
        if side in pairs.sides:
            split = pairs.sides[side]
            source += [f"split: {split}"] if split else []
            why = f"the folder's split `{split}`" if split else "all pairs but those of the held-out questions"
        elif side == "gate":
            lines.append("  gate_fraction: 0.1 # questions of train that decide whether a new judge is better")
            continue
        else:
            split = pairs.sides["train"]
            source += ["name: held_out", *([f"split: {split}"] if split else [])]
            why = "drawn from the same pairs: their questions leave train"
        source += [f"limit: {most}"] if most else []
        few = ", few enough for an hour on a CPU" if side == "train" and limit else ""
        lines.append(f"  {side}: [{{{', '.join(source)}}}] # {why}{few}")
    return "\n".join(lines)


def _id_of(out: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", out.stem) or "first"
