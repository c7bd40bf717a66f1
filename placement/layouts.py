"""Every alignment preset in every layout, and what its best step comes to by the hour of a GPU: all modelled.

    python -m placement.layouts

The first table has, for each preset on its cluster file, the sizes that ``genrm-rl plan --suggest any`` finds. The
second has rates of the recommended layout on one GPU and on eight: tokens learned from (questions and answers) a
second, and the arithmetic of update and reference pass, without recomputation, as a share of what all the job's GPUs
could do in the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from placement.cluster_file import read_cluster
from placement.hardware import GPUS
from placement.roles import plan
from placement.shapes import shape_of
from placement.suggest import LAYOUTS, Suggestion, compare, recommended
from placement.times import learned_tokens, reading_passes

ROOT = Path(__file__).resolve().parents[1]
GPU = "H100"  # of all cluster files here
UPDATE, PASS = 6, 2  # floating-point operations per token and parameter, without recomputation


@dataclass(frozen=True)
class Preset:
    """A job (files of ``jobs/configs``, laid over each other) and a cluster file."""

    configs: tuple[str, ...]
    cluster: str

    def layouts(self) -> list[Suggestion]:
        """The best sizes of each layout."""
        files = [ROOT / f"jobs/configs/{name}.yaml" for name in self.configs]
        cluster = read_cluster(ROOT / f"placement/presets/clusters/{self.cluster}.yaml")
        return compare(load_config(AlignConfig, files, []), cluster)


PRESETS = (
    Preset(("align_smollm2",), "one_gpu"),
    Preset(("align_smollm2",), "one_node"),
    Preset(("align_llama8b",), "one_gpu"),
    Preset(("align_llama8b",), "one_node"),
    Preset(("align_llama8b",), "four_nodes"),
    Preset(("align_llama8b", "align_llama8b_judge70b"), "one_node"),
    Preset(("align_llama8b", "align_llama8b_judge70b"), "four_nodes"),
    Preset(("align_llama70b",), "one_node"),
    Preset(("align_llama70b",), "eight_nodes"),
)
RATED = PRESETS[:4]  # one GPU, and eight
LAYOUT_COLUMNS = ("preset", "cluster", *LAYOUTS)
RATE_COLUMNS = (
    "preset", "GPUs", "layout", "modelled step, s", "tokens learned a second", "of them per GPU", "utilisation",
    "publication, s",
)  # fmt: skip


def layout_rows() -> list[tuple[str, ...]]:
    """Cells of :data:`LAYOUT_COLUMNS`: seconds of the modelled step, sizes, GiB of one GPU."""
    return [(preset.configs[-1], preset.cluster, *map(_cell, preset.layouts())) for preset in PRESETS]


def _cell(found: Suggestion) -> str:
    """``step; learner workers + engines + judge replicas; GiB that learner / engine / judge need on a GPU``."""
    config, times = found.config, found.times
    if config is None or times is None:
        return "does not fit" if found.reason else "not tried"
    sizes = f"{config.learner.workers} + {config.rollout.engines} + {config.serving.max_replicas}"
    memory = " / ".join(f"{role.memory.total:.1f}" for role in plan(config).roles)
    return f"{times.step:.1f} s; {sizes}; {memory} GiB"


def rate_rows() -> list[tuple[str, ...]]:
    """Cells of :data:`RATE_COLUMNS`."""
    rows = []
    for preset in RATED:
        best = recommended(preset.layouts())
        name = preset.configs[-1]
        if best is None:
            rows.append((name, "1", "none fits", *("-",) * 5))
            continue
        config, times = best.config, best.times
        assert config is not None and times is not None
        tokens = learned_tokens(config)
        work = (UPDATE * config.ppo.epochs + PASS * reading_passes(config)) * shape_of(config.model).parameters * tokens
        rate, ceiling = tokens / times.step, GPUS[GPU].bf16 * 1e12 * best.gpus * times.step
        rows.append(
            (
                name, str(best.gpus), best.layout, f"{times.step:.1f}", f"{rate:,.0f}", f"{rate / best.gpus:,.0f}",
                f"{work / ceiling:.0%}", f"{times.publish:.1f}",
            )
        )  # fmt: skip
    return rows


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ("---",) * len(columns), *rows))


if __name__ == "__main__":
    for columns, rows in ((LAYOUT_COLUMNS, layout_rows()), (RATE_COLUMNS, rate_rows())):
        Console(soft_wrap=True).print(table(columns, rows) + "\n", markup=False, highlight=False)
