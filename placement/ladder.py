"""One job from one GPU to a thousand: the same plan on more and more machines of eight H100s, all modelled.

    python -m placement.ladder

From 20 GPUs on every size of the 8B job is a multiple of ``presets/four_nodes_llama8b.yaml``: engines, judge replicas,
learner workers and the questions of a step grow together, so the seconds of a step do not. Bytes are those of the
weights in bfloat16 that have to reach every engine after an update.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from placement.cluster_file import read_cluster
from placement.memory import NUMBER_BYTES
from placement.roles import plan
from placement.shapes import shape_of
from placement.suggest import times_on
from placement.times import PUBLISH_GB_PER_SECOND, judge_gpu_hours_per_million

ROOT = Path(__file__).resolve().parents[1]
UNIT_GPUS = 20  # that the preset uses: 8 for learners, 4 for engines, 8 for the judge
COLUMNS = (
    "GPUs used", "policy", "learner workers", "engines", "judge replicas", "GiB a learner GPU", "answers a step",
    "modelled step, s", "answers a second", "weights to all engines, GB", "publication over one link, s",
    "publication down a tree, s", "judge GPU-hours per million comparisons",
)  # fmt: skip


@dataclass(frozen=True)
class Rung:
    """A job and the cluster file in which its unit fits; ``times`` units of it."""

    config: str
    preset: str
    cluster: str
    times: int = 1


RUNGS = (
    Rung("align_smollm2", "one_gpu_smollm2", "one_gpu"),
    Rung("align_llama8b", "one_node_llama8b", "one_node"),
    *(Rung("align_llama8b", "four_nodes_llama8b", "four_nodes", times) for times in (1, 2, 6, 25, 50)),
    Rung("align_llama70b", "eight_nodes_llama70b", "eight_nodes"),
)


def row(rung: Rung) -> tuple[str, ...]:
    """The cells of :data:`COLUMNS`."""
    files = (ROOT / f"jobs/configs/{rung.config}.yaml", ROOT / f"placement/presets/{rung.preset}.yaml")
    unit = load_config(AlignConfig, files, ["--rollout.weight-backend", "nccl"])
    config = multiplied(unit, rung.times)
    times = times_on(unit, read_cluster(ROOT / f"placement/presets/clusters/{rung.cluster}.yaml"))
    if times is None:
        raise ValueError(f"the preset {rung.preset} has no GPUs in {rung.cluster}")
    roles = {role.name: role for role in plan(config).roles}
    learner = max((role for role in roles.values() if role.learns), key=lambda role: role.memory.total)
    answers = config.ppo.prompts_per_step * config.ppo.samples_per_prompt
    size = shape_of(config.model).parameters * NUMBER_BYTES[config.model.dtype] / 1e9
    link = PUBLISH_GB_PER_SECOND["nccl"]
    engines = config.rollout.engines
    depth = engines.bit_length()  # rounds in which the number of engines that have the weights doubles
    gpus = 1 if rung.cluster == "one_gpu" else sum(role.gpus for role in roles.values())
    return (
        f"{gpus:,.0f}", config.model.name.rpartition("/")[2], f"{config.learner.workers:,}", f"{engines:,}",
        f"{config.serving.max_replicas:,}", f"{learner.memory.total:.1f}", f"{answers:,}", f"{times.step:.1f}",
        f"{answers / times.step:,.1f}", f"{size * engines:,.1f}", f"{size * engines / link:,.1f}",
        f"{size * depth / link:,.1f}", f"{judge_gpu_hours_per_million(unit, times):,.1f}",
    )  # fmt: skip


def multiplied(config: AlignConfig, times: int) -> AlignConfig:
    """``times`` as many of everything that works side by side."""
    sections = {
        "learner": {"workers": config.learner.workers * times},
        "rollout": {"engines": config.rollout.engines * times},
        "serving": {
            "min_replicas": config.serving.min_replicas * times,
            "max_replicas": config.serving.max_replicas * times,
        },
        "ppo": {"prompts_per_step": config.ppo.prompts_per_step * times},
    }
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=changes) for name, changes in sections.items()}
    )


def ladder() -> str:
    """The Markdown table of docs/scale.md."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row(rung) for rung in RUNGS)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    Console(soft_wrap=True).print(ladder(), markup=False, highlight=False)
