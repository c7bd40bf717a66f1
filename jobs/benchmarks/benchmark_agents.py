"""Agents from cloning to judged reinforcement learning: what each reward brings, seed by seed.

    python jobs/benchmarks/benchmark_agents.py --root runs/agents
    python jobs/benchmarks/benchmark_agents.py --root runs/agents --name shop --config jobs/configs/agents_tiny.yaml \\
        --config jobs/configs/agents_shop.yaml

Per environment one policy is cloned. Per seed it plays training tasks; from the outcomes of these episodes a trajectory
judge and a step judge are trained; then the clone is trained by each arm of ``--arms`` on equal numbers of episodes:

    outcome   the environment's success          judge   the trajectory judge
    steps     outcome and the step judge's marks  both    trajectory judge and marks
    sparse    the success of a tenth of the tasks sparse-judge  the trajectory judge, trained on that tenth

All are measured on the same held-out tasks. Every stage continues where it was. Writes agents-NAME.json and
agents-NAME.md into ``--root``. Other options are overrides of every agents' run.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.agents.cloning import clone_agent
from genrm_rl.agents.collect import collect_episodes
from genrm_rl.agents.episodes import read_episodes
from genrm_rl.agents.job import train_agent
from genrm_rl.agents.pairs import keep_pairs, train_step_judge
from genrm_rl.agents.playing import EPISODES_FILE
from genrm_rl.config import RunConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation import view
from genrm_rl.evaluation.intervals import over_seeds, paired_difference
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import read_json, write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIGS = Path(__file__).parents[1] / "configs"
SPARSE = 0.1
ARMS = {
    "outcome": {"parts.outcome": 1.0},
    "judge": {"parts.outcome": 0.0, "parts.judge": 1.0},
    "steps": {"parts.outcome": 1.0, "parts.steps": 0.5},
    "both": {"parts.outcome": 0.0, "parts.judge": 1.0, "parts.steps": 0.5},
    "sparse": {"parts.outcome": 1.0, "parts.outcome-share": SPARSE},
    "sparse-judge": {"parts.outcome": 0.0, "parts.judge": 1.0},
}


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    root: Path
    name: str
    files: Sequence[Path]
    judge_method: str
    collect_steps: int
    overrides: Sequence[str]
    console: Console

    def config(self, run_id: str, words: dict[str, Any]) -> AgentConfig:
        """The settings of one run."""
        own = {"run.root": self.root, "run.id": run_id, **words}
        return load_config(AgentConfig, self.files, [*flags(own), *self.overrides])


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/agents"), help="folder of the runs and tables")
    parser.add_argument("--name", default="cooking", help="what run ids begin with")
    parser.add_argument(
        "--config", type=Path, action="append", help="settings of all agents' runs; given again: laid over"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of everything after cloning")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="rewards to compare")
    parser.add_argument("--judge-method", default="genrm_direct", help="how the trajectory judge is trained")
    parser.add_argument("--collect-steps", type=int, default=12, help="steps' worth of episodes for the judges")
    arguments, overrides = parser.parse_known_args()
    bench = Bench(
        arguments.root,
        arguments.name,
        arguments.config or [CONFIGS / "agents_tiny.yaml"],
        arguments.judge_method,
        arguments.collect_steps,
        overrides,
        Console(),
    )
    clone = clone_agent(bench.config(f"{bench.name}-clone", {}), bench.console)
    runs: dict[str, list[Path]] = {arm: [] for arm in arguments.arms}
    judges = []
    for seed in arguments.seeds:
        judge = Judges(bench, clone, seed)
        for arm in arguments.arms:
            runs[arm].append(train_arm(bench, clone, judge, arm, seed))
        judges.append(judge.measured())
    write_tables(bench, runs, arguments.seeds, judges)


@dataclass
class Judges:
    """Judges of one seed, made when an arm needs them."""

    bench: Bench
    clone: Path
    seed: int

    @property
    def prefix(self) -> str:
        """Of this seed's run ids."""
        return f"{self.bench.name}-seed{self.seed}"

    def episodes(self) -> Path:
        """Episodes of the clone on training tasks."""
        words = {"run.seed": self.seed, "model.name": self.clone, "ppo.steps": self.bench.collect_steps}
        return collect_episodes(self.bench.config(f"{self.prefix}-episodes", words), self.bench.console)

    def trajectory(self, *, sparse: bool) -> Path:
        """Checkpoint of the trajectory judge."""
        bench, name = self.bench, f"{self.prefix}-trajectory{'-sparse' if sparse else ''}"
        words = {"run.seed": self.seed, "parts.outcome-share": SPARSE if sparse else 1.0}
        file = bench.root / f"{name}.jsonl"
        run = bench.root / name
        if not file.is_file():
            settings = bench.config(f"{name}-pairs", words)
            keep_pairs(settings, [self.episodes()], file, most=6, margin=0.1, held_out=0.2, console=bench.console)
        judge = {
            "run.root": bench.root,
            "run.id": name,
            "run.seed": self.seed,
            "model.name": self.clone,
            "data.train": f"[{{path: {file.absolute()}}}]",
            "data.test": f"[{{path: {file.with_stem(f'{file.stem}_test').absolute()}, name: held_out}}]",
            "bootstrap.methods": f"[{bench.judge_method}]",
        }
        run_bootstrap(load_config(RunConfig, CONFIGS / "agents_judge.yaml", flags(judge)), bench.console)
        return run / "methods" / bench.judge_method / "round1" / "checkpoint"

    def steps(self) -> Path:
        """Checkpoint of the step judge."""
        words = {"run.seed": self.seed, "model.name": self.clone}
        settings = self.bench.config(f"{self.prefix}-step-judge", words)
        return train_step_judge(settings, [self.episodes()], self.bench.console)

    def measured(self) -> dict[str, Any]:
        """What the judges of this seed are worth on held-out episodes, where they were made."""
        found: dict[str, Any] = {"seed": self.seed}
        for name in ("trajectory", "trajectory-sparse"):
            report = self.bench.root / f"{self.prefix}-{name}" / "report.json"
            if report.is_file():
                found[name] = read_json(report)["results"]
        for arm in ("steps", "both"):
            file = self.bench.root / f"{self.prefix}-{arm}" / "step_judge.json"
            if file.is_file():
                found["step judge"] = read_json(file)
        return found


def train_arm(bench: Bench, clone: Path, judges: Judges, arm: str, seed: int) -> Path:
    """The run of one arm and seed."""
    words = {"run.seed": seed, "model.name": clone, **ARMS[arm]}
    if "parts.judge" in words:
        checkpoint = judges.trajectory(sparse=arm == "sparse-judge")
        words |= {
            "serving.checkpoint": checkpoint,
            "judge-model.name": clone,
            "judge-model.max-context": 2048,
            "judge-model.dtype": "float32",
            "judge.template": "chat_compact",
        }
    if "parts.steps" in words:
        words["step-judge.checkpoint"] = judges.steps()
    return train_agent(bench.config(f"{bench.name}-seed{seed}-{arm}", words), bench.console)


def successes(run: Path, step: int) -> dict[str, float]:
    """Success by held-out task, validation and test together; masked episodes are left out."""
    found = {}
    for split in ("validation", "test"):
        for episode in read_episodes(run / f"evaluation/{split}/{step:05d}" / EPISODES_FILE):
            if not episode.masked:
                found[episode.task_id] = float(bool(episode.success))
    return found


def gain(run: Path) -> dict[str, Any]:
    """The last policy against the clone on the same tasks."""
    last = max(int(path.stem) for path in (run / "evaluation/test").glob("[0-9]*.json"))
    before, after = successes(run, 0), successes(run, last)
    tasks = [task for task in before if task in after]
    ones = [1.0] * len(tasks)
    difference, interval = paired_difference(
        [after[task] for task in tasks], ones, [before[task] for task in tasks], ones, resamples=2000, seed=0
    )
    formats = [
        read_json(run / f"evaluation/{split}/{last:05d}.json")["format_rate"] for split in ("validation", "test")
    ]
    return {
        "before": math.fsum(before[task] for task in tasks) / len(tasks),
        "after": math.fsum(after[task] for task in tasks) / len(tasks),
        "difference": difference,
        "ci95": list(interval),
        "format": math.fsum(formats) / 2,
        "n": len(tasks),
    }


def write_tables(bench: Bench, runs: dict[str, list[Path]], seeds: list[int], judges: list[dict[str, Any]]) -> None:
    """JSON with every number, and Markdown to read."""
    where, found = machine(), {arm: [gain(run) for run in paths] for arm, paths in runs.items()}
    lines = [
        f"# Agents: {bench.name}",
        "",
        f"Validation and test tasks together, greedy; seeds {', '.join(map(str, seeds))}; {where['cpu']}, "
        f"{where['cores']} cores. Points: against the cloned policy on the same tasks; the interval holds tasks and "
        "seeds.",
        "",
        "| reward | cloned, % | trained, % | points | 95 % interval | by seed | format, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, rows in found.items():
        points = [row["difference"] for row in rows]
        mean, by_seed = math.fsum(points) / len(points), ", ".join(view.points(each) for each in points)
        within = tuple(math.fsum(row["ci95"][side] for row in rows) / len(rows) for side in (0, 1))
        interval = over_seeds(points, within)[0]
        before, after, form = (mean_of(rows, name) for name in ("before", "after", "format"))
        lines.append(
            f"| {arm} | {view.percent(before)} | {view.percent(after)} | {view.points(mean)} | "
            f"{view.points_interval(interval)} | {by_seed} | {view.percent(form)} |"
        )
    write_atomic(bench.root / f"agents-{bench.name}.md", "\n".join(lines) + "\n")
    facts = {"machine": where, "versions": versions(), "seeds": seeds, "name": bench.name, "judges": judges}
    write_json(bench.root / f"agents-{bench.name}.json", facts | {"arms": found})
    bench.console.print("\n".join(lines), markup=False, highlight=False)


def mean_of(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Over the seeds."""
    return math.fsum(row[name] for row in rows) / len(rows)


def flags(words: dict[str, Any]) -> list[str]:
    """Overrides as a command line has them."""
    return [word for name, value in words.items() for word in (f"--{name}", str(value))]


if __name__ == "__main__":
    main()
