"""Seconds per step of our policy-gradient loop and of TRL's GRPOTrainer: same policy, questions, judge and step size.

    pip install trl==1.16.0          # not in the locks
    python jobs/benchmarks/benchmark_trl.py --serving.checkpoint runs/ID/methods/star_dpo/round1/checkpoint

Both sides ask one served judge (without its verdict cache) and take turns; medians over all steps but the first of each
turn. TRL generates with transformers here: its vLLM mode needs a GPU. Other options are settings of ``align``.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.alignment.hosts import own_service
from genrm_rl.alignment.preflight import check_judge, reserved_cpus
from genrm_rl.alignment.prompts import load_prompts
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.rewards.trainers.trl import GenRMReward
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import read_json, write_json
from genrm_rl.stories.align_policy import run_alignment

CONFIG = Path(__file__).parents[1] / "configs" / "align_tiny.yaml"
FIXED = [
    *("--serving.cache-entries", "0"),
    *("--evaluation.prompts", "1"),
    *("--evaluation.probes", "0"),
    *("--tracking.tensorboard", "false"),
]


def main() -> None:
    """Measure both, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2, help="turns of each side")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_trl.json"), help="where the figures go")
    arguments, overrides = parser.parse_known_args()
    if importlib.util.find_spec("trl") is None:
        sys.exit("TRL is not installed; `pip install trl==1.16.0` adds it to this environment")
    shape = ["--ppo.steps", "5", "--ppo.prompts-per-step", "40", "--ppo.advantage", "dr_grpo"]
    config = load_config(AlignConfig, CONFIG, [*FIXED, *shape, *overrides])
    check_judge(config)
    console = Console()
    seconds: dict[str, list[float]] = {"ours": [], "trl": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        ray_session(cpus=math.ceil(reserved_cpus(config))),
        own_service(config, console) as url,
    ):
        for turn in range(arguments.turns):
            seconds["ours"] += our_steps(config, url, Path(folder), turn, console)[1:]
            seconds["trl"] += trl_steps(config, url, Path(folder) / f"trl{turn}")[1:]
    ours, theirs = (statistics.median(values) for values in seconds.values())
    where = machine()
    write_json(arguments.output, {"machine": where, "versions": versions(), "seconds_per_step": seconds})
    answers = config.ppo.prompts_per_step * config.ppo.samples_per_prompt
    console.print(
        f"{answers} answers per step, seconds: ours {ours:.2f}, TRL {theirs:.2f}; {theirs / ours:.2f}x as fast "
        f"({len(seconds['ours'])} steps each; {where['cpu']}, {where['cores']} cores; {arguments.output})",
        highlight=False,
    )


def our_steps(config: AlignConfig, url: str, folder: Path, turn: int, console: Console) -> list[float]:
    """Seconds of each step of a run against the service."""
    run = config.run.model_copy(update={"root": str(folder), "id": f"ours{turn}"})
    reward = config.reward.model_copy(update={"url": url})
    path = run_alignment(config.model_copy(update={"run": run, "reward": reward}), console)
    return [read_json(step)["seconds/step"] for step in sorted(path.glob("steps/*/metrics.json"))]


def trl_steps(config: AlignConfig, url: str, folder: Path) -> list[float]:
    """Seconds of each step of TRL's trainer on the same questions with the same settings."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    ppo, model = config.ppo, resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path))
    room = config.model.max_context - config.sampling.max_tokens
    prompts = load_prompts(config.prompts, chat, room=room, seed=config.run.seed)
    asked = [p for step in range(ppo.steps) for p in prompts.batch(step, ppo.prompts_per_step, config.run.seed)]
    turns = [[{"role": turn.role, "content": turn.content} for turn in prompt.messages] for prompt in asked]
    settings = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=ppo.prompts_per_step * ppo.samples_per_prompt,
        num_generations=ppo.samples_per_prompt,
        max_completion_length=config.sampling.max_tokens,
        temperature=config.sampling.temperature,
        mask_truncated_completions=config.sampling.truncated == "mask",
        learning_rate=ppo.learning_rate,
        beta=ppo.kl_coefficient,
        loss_type="dr_grpo",
        scale_rewards="none",
        max_steps=ppo.steps,
        shuffle_dataset=False,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        seed=config.run.seed,
    )
    clock = step_clock()
    trainer = GRPOTrainer(
        model=str(model.path),
        reward_funcs=GenRMReward(url, rule=config.reward.rule, votes=config.reward.votes, greedy=config.reward.greedy),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": turns}),
        callbacks=[clock],
    )
    trainer.train()
    return clock.seconds


def step_clock() -> Any:
    """A callback of transformers' trainer that takes the time of each step, generation and rewards included."""
    from transformers import TrainerCallback

    class StepClock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self._last = 0.0

        def on_train_begin(self, *arguments: Any, **values: Any) -> None:
            self._last = time.perf_counter()

        def on_step_end(self, *arguments: Any, **values: Any) -> None:
            now = time.perf_counter()
            self.seconds.append(now - self._last)
            self._last = now

    return StepClock()


if __name__ == "__main__":
    main()
