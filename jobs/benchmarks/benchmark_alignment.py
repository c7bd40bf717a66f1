"""Policies aligned with the judge's reward, with a Bradley-Terry reward, and with the verifier (the ceiling).

    python jobs/benchmarks/benchmark_paper_table.py --root runs/paper_table --cues 0.75          # trains the judges
    python jobs/benchmarks/benchmark_alignment.py --root runs/alignment --judges runs/paper_table

Every (method, reward, seed) is an ordinary alignment run that continues where it was; the judge of a seed is served
once for all methods. Writes alignment.json and alignment.md into ``--root``. Other options are overrides of every run.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.alignment.hosts import own_service
from genrm_rl.alignment.pooled import Change, PooledSet, pool_runs, read_report
from genrm_rl.alignment.preflight import reserved_cpus
from genrm_rl.alignment.statistics import mean
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_atomic, write_json
from genrm_rl.stories.align_policy import run_alignment

CONFIG = Path(__file__).parents[1] / "configs" / "align_tiny.yaml"
METHODS = {
    "ppo": ["--method", "ppo", "--ppo.advantage", "gae"],
    "grpo": ["--method", "ppo", "--ppo.advantage", "dr_grpo"],
    "dpo": ["--method", "dpo"],
}
JUDGES = {"genrm": "star_dpo", "bradley_terry": "bradley_terry"}
REWARDS = (*JUDGES, "verifier")
Arm = tuple[str, str]


def main() -> None:
    """Run what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/alignment"), help="folder of the runs and tables")
    parser.add_argument(
        "--judges", type=Path, default=Path("runs/paper_table"), help="runs of benchmark_paper_table.py"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="a judge and a policy run for each")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rewards", nargs="+", choices=REWARDS, default=list(REWARDS))
    parser.add_argument("--questions", type=int, default=500, help="held-out questions per set and seed")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make tables from complete runs")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    configs = {
        (method, reward, seed): configure(arguments, method, reward, seed, overrides)
        for seed in arguments.seeds
        for reward in arguments.rewards
        for method in arguments.methods
    }
    if not arguments.tables_only:
        run_all(configs, console)
    arms: dict[Arm, list[Path]] = {}
    for (method, reward, _), config in configs.items():
        arms.setdefault((method, reward), []).append(Path(config.run.root) / config.run.id)
    write_tables(arguments.root, arms, arguments.seeds)
    console.print((arguments.root / "alignment.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def configure(arguments: argparse.Namespace, method: str, reward: str, seed: int, overrides: list[str]) -> AlignConfig:
    """The run of one cell, as if it served its judge itself."""
    cell = [
        *METHODS[method],
        *("--run.root", str(arguments.root)),
        *("--run.id", f"{method}_{reward}_seed{seed}"),
        *("--run.seed", str(seed)),
        *("--evaluation.prompts", str(arguments.questions)),
        *("--evaluation.every", "0"),
    ]
    if reward == "verifier":
        cell += ["--reward.source", "verifier"]
    else:
        judge = arguments.judges / f"cue75_seed{seed}" / "methods" / JUDGES[reward] / "round1" / "checkpoint"
        cell += ["--serving.checkpoint", str(judge)]
    return load_config(AlignConfig, CONFIG, [*overrides, *cell])


def run_all(configs: dict[tuple[str, str, int], AlignConfig], console: Console) -> None:
    """Every run in one Ray; runs with the same judge share its service."""
    with ray_session(cpus=math.ceil(max(reserved_cpus(config) for config in configs.values()))):
        for reward, seed in dict.fromkeys((reward, seed) for _, reward, seed in configs):
            cells = [config for (_, r, s), config in configs.items() if (r, s) == (reward, seed)]
            with judge_of(cells[0], console) as url:
                for config in cells:
                    update = {"reward": config.reward.model_copy(update={"url": url})}
                    run_alignment(config.model_copy(update=update), console)


@contextmanager
def judge_of(config: AlignConfig, console: Console) -> Iterator[str | None]:
    """Address of the served judge, None for the verifier."""
    if config.reward.source == "verifier":
        yield None
        return
    with own_service(config, console) as url:
        yield url


def write_tables(root: Path, arms: dict[Arm, list[Path]], seeds: list[int]) -> None:
    """JSON with every number, and Markdown to read."""
    where = machine()
    pooled = {arm: pool_runs(runs) for arm, runs in arms.items()}
    probes = {arm: probe_means(runs) for arm, runs in arms.items()}
    lines = [
        "# Policies aligned with three rewards",
        "",
        f"Seeds {', '.join(map(str, seeds))}; {where['cpu']}, {where['cores']} cores. Right answers in percent, pooled "
        "over the seeds' held-out questions; differences in points with 95 % intervals over questions and seeds. Share "
        "of the ceiling: the gain divided by the verifier's gain with the same method, where that is above zero.",
    ]
    for name, decoding in dict.fromkeys((row.name, row.decoding) for rows in pooled.values() for row in rows):
        rows = {
            arm: next(r for r in found if (r.name, r.decoding) == (name, decoding)) for arm, found in pooled.items()
        }
        lines += ["", f"## {name}, {decoding}", "", *accuracy_table(rows), "", *family_table(rows)]
    lines += ["", "## Probes", "", *probe_table(probes)]
    write_atomic(root / "alignment.md", "\n".join(lines) + "\n")
    arm_rows = [
        {"method": method, "reward": reward, "sets": [asdict(row) for row in rows], "probes": probes[method, reward]}
        for (method, reward), rows in pooled.items()
    ]
    write_json(root / "alignment.json", {"machine": where, "versions": versions(), "seeds": seeds, "arms": arm_rows})


def accuracy_table(rows: dict[Arm, PooledSet]) -> list[str]:
    """One line per arm."""
    lines = [
        "| method | reward | before | after | difference | by seed | of the ceiling | cue | KL nats | tokens |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (method, reward), row in rows.items():
        ceiling = rows.get((method, "verifier"))
        share = "-"
        if ceiling is not None and reward != "verifier" and ceiling.gold.ci95[0] > 0:
            share = f"{100 * row.gold.difference / ceiling.gold.difference:.0f} %"
        seeds = ", ".join(f"{100 * value:+.1f}" for value in row.by_run)
        lines.append(
            f"| {method} | {reward} | {100 * row.gold.before:.1f} | {100 * row.gold.after:.1f} | {points(row.gold)} | "
            f"{seeds} | {share} | {100 * row.cue.before:.1f} -> {100 * row.cue.after:.1f}: {points(row.cue)} | "
            f"{decimals(row.kl_nats, 3)} | {decimals(row.tokens_before, 1)} -> {decimals(row.tokens_after, 1)} |"
        )
    return lines


def family_table(rows: dict[Arm, PooledSet]) -> list[str]:
    """Differences by task family."""
    families = list(dict.fromkeys(family for row in rows.values() for family in row.by_family))
    lines = [f"| method | reward | {' | '.join(families)} |", "|---|---|" + "---|" * len(families)]
    for (method, reward), row in rows.items():
        cells = " | ".join(points(row.by_family[family]) for family in families)
        lines.append(f"| {method} | {reward} | {cells} |")
    return lines


def probe_means(runs: list[Path]) -> dict[str, tuple[float | None, float | None]]:
    """P(probe beats the policy's answer), mean over the runs, before and after."""
    sides: dict[str, tuple[list[float], list[float]]] = {}
    for run in runs:
        for row in read_report(run)["probes"]:
            for kind, found in row["probes"].items():
                if found["mean_p"] is not None:
                    sides.setdefault(kind, ([], []))[bool(row["step"])].append(found["mean_p"])
    return {kind: (mean(before), mean(after)) for kind, (before, after) in sides.items()}


def probe_table(probes: dict[Arm, dict[str, Any]]) -> list[str]:
    """P(probe beats the answer) before and after, for judged arms."""
    kinds = list(dict.fromkeys(kind for found in probes.values() for kind in found))
    lines = [f"| method | reward | {' | '.join(kinds)} |", "|---|---|" + "---|" * len(kinds)]
    for (method, reward), found in probes.items():
        if found:
            sides = [found.get(kind, (None, None)) for kind in kinds]
            cells = [f"{decimals(before, 2)} -> {decimals(after, 2)}" for before, after in sides]
            lines.append(f"| {method} | {reward} | {' | '.join(cells)} |")
    return lines


def points(change: Change) -> str:
    """A difference with its interval."""
    low, high = (100 * bound for bound in change.ci95)
    return f"{100 * change.difference:+.1f} [{low:+.1f}, {high:+.1f}]"


def decimals(value: float | None, digits: int) -> str:
    """A number, or a dash for none."""
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
