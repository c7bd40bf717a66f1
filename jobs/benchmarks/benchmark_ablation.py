"""What makes STaR-DPO work, and what else would: an ablation in the controlled world, at like numbers of tokens.

    python jobs/benchmarks/benchmark_ablation.py --root runs/ablation --seeds 0 1 2

Of every seed there are three ordinary bootstrap runs, which continue where they were:

- ``main``: STaR-SFT, STaR-DPO, verdict RL and self-distillation from the same base and the same pairs;
- ``matched``: STaR-SFT with as many optimizer steps as that STaR-DPO took;
- ``shuffled``: STaR-DPO whose labels were drawn by a coin: the same traces, prompts and steps, and no information about
  which verdict is right.

Writes ablation.json and ablation.md into ``--root``; differences are to STaR-DPO.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.bootstrap.summary import LABELS
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation.costs import mean_cost
from genrm_rl.evaluation.pooled import PooledRow, Suite, pool_runs
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import content_hash
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import read_manifest, write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIG = Path(__file__).parents[1] / "configs" / "ablation.yaml"
BASELINE = "star_dpo"
TRACES = "traces/base-part1"
ARMS = {
    "main": "[llm_judge, star_sft, star_dpo, verdict_rl, self_distilled]",
    "matched": "[star_sft]",
    "shuffled": "[star_dpo]",
}
TITLES = {("matched", "star_sft"): "STaR-SFT, matched steps", ("shuffled", "star_dpo"): "STaR-DPO, shuffled verdicts"}


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/ablation"), help="folder of the runs and the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the preference stage")
    parser.add_argument("--methods", default=ARMS["main"], help="methods of `main`; `matched` needs STaR-SFT and -DPO")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="what is run, `main` first")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make the table")
    arguments, overrides = parser.parse_known_args()
    console = Console()
    runs: dict[str, list[Path]] = {arm: [] for arm in arguments.arms}
    for seed in arguments.seeds:
        for arm in arguments.arms:
            methods = arguments.methods if arm == "main" else ARMS[arm]
            config = configure(arguments.root, arm, seed, [*overrides, "--bootstrap.methods", methods])
            runs[arm].append(arguments.root / config.run.id)
            if not arguments.tables_only:
                run_bootstrap(config, console)
    write_table(arguments.root, runs, arguments.seeds)
    console.print((arguments.root / "ablation.md").read_text(encoding="utf-8"), markup=False, highlight=False)


def configure(root: Path, arm: str, seed: int, overrides: list[str]) -> RunConfig:
    """The run of one arm and seed. ``matched`` needs the finished ``main`` run of the seed."""
    cell = ["--run.root", str(root), "--run.seed", str(seed), "--run.id", f"{arm}_seed{seed}"]
    if arm == "matched":
        cell += matched_steps(root / f"main_seed{seed}", load_config(RunConfig, CONFIG, [*overrides, *cell]))
        share_traces(root / f"main_seed{seed}", root / f"matched_seed{seed}")
    if arm == "shuffled":
        plain = load_config(RunConfig, CONFIG, [*overrides, *cell])
        file = shuffled_pairs(plain, root / f"shuffled_seed{seed}.jsonl")
        cell += ["--data.train", json.dumps([{"path": str(file.resolve())}])]
    return load_config(RunConfig, CONFIG, [*overrides, *cell])


def matched_steps(main_run: Path, config: RunConfig) -> list[str]:
    """Settings by which STaR-SFT takes the steps that STaR-DPO of ``main_run`` took, on the examples that it found."""
    steps = read_manifest(main_run / "methods/star_dpo/round1/checkpoint")["steps"]
    examples = read_manifest(main_run / "methods/star_sft/round1/examples")["examples"]
    return ["--bootstrap.sft.epochs", f"{steps * config.bootstrap.sft.batch_size / examples:.6f}"]


def share_traces(main_run: Path, run: Path) -> None:
    """Give ``run`` the base's traces of ``main_run``: the same judge, pairs and seeds give the same again."""
    if not (run / TRACES).is_dir():
        shutil.copytree(main_run / TRACES, run / TRACES)


def shuffled_pairs(config: RunConfig, file: Path) -> Path:
    """The training pairs with the better answer drawn by a coin, as a pair file."""
    rows = []
    for pair in load_sources(config.data, config.run.seed).train:
        answers = [pair.chosen, pair.rejected]
        if int(content_hash(config.run.seed, "shuffled", pair.id, length=8), 16) % 2:
            answers.reverse()
        rows.append({"prompt": pair.prompt[-1].content, "chosen": answers[0], "rejected": answers[1]})
    write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


def write_table(root: Path, runs: dict[str, list[Path]], seeds: list[int]) -> None:
    """JSON with every number, and Markdown to read."""
    where, rows = machine(), []
    for arm, paths in runs.items():
        for suite, row in pool_runs(paths, baseline=BASELINE, resamples=2000, seed=0).items():
            if arm == "main" or (arm, suite[0]) in TITLES:  # the baselines of every run are those of `main`
                rows.append((arm, suite, row))
    lines = [
        "# Ablation in the controlled world",
        "",
        f"Seeds {', '.join(map(str, seeds))}; {where['cpu']}, {where['cores']} cores.",
        "Accuracy (strict, both orders) in percent with its 95 % interval over prompts and seeds, and the difference",
        "to STaR-DPO in points. Tokens are means over the seeds, in thousands: sampled for training, and trained on.",
    ]
    for test_set in sorted({suite[1] for _, suite, _ in rows}):
        lines += ["", f"## {test_set}", "", *markdown([row for row in rows if row[1][1] == test_set], runs)]
    write_atomic(root / "ablation.md", "\n".join(lines) + "\n")
    table = [
        {"arm": arm, "judge": suite[0], "set": suite[1], "decoding": suite[2], **as_json(row, runs[arm])}
        for arm, suite, row in rows
    ]
    facts = {"machine": where, "versions": versions(), "seeds": seeds, "rows": table}
    write_json(root / "ablation.json", facts)


def markdown(rows: list[tuple[str, Suite, PooledRow]], runs: dict[str, list[Path]]) -> list[str]:
    """One line per judge and decoding."""
    lines = [
        "| judge | decoding | accuracy | by seed | right in both | to STaR-DPO | by seed | sampled | trained | steps |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, (judge, _, decoding), row in rows:
        low, high = (100 * bound for bound in row.result.ci95)
        both = "-" if row.result.right_in_both is None else f"{100 * row.result.right_in_both:.1f}"
        points, apart = "-", "-"
        if row.difference is not None:
            left, right = (100 * bound for bound in row.difference.ci95)
            points = f"{100 * row.difference.difference:+.1f} ({left:+.1f} to {right:+.1f})"
            apart = ", ".join(f"{100 * value:+.1f}" for value in row.difference_by_seed)
        title = TITLES.get((arm, judge), LABELS.get(judge, judge))
        seeds = ", ".join(f"{100 * value:.1f}" for value in row.by_seed)
        lines.append(
            f"| {title} | {decoding} | {100 * row.result.accuracy_strict:.1f} ({low:.1f}-{high:.1f}) | {seeds} "
            f"| {both} | {points} | {apart} | {costs(runs[arm], judge)} |"
        )
    return lines


def costs(paths: list[Path], judge: str) -> str:
    """Tokens in thousands, and steps, for a table."""
    spent = mean_cost(paths, judge)
    if spent is None:
        return "- | - | -"
    return f"{spent.sampled_tokens / 1000:.0f} | {spent.trained_tokens / 1000:.0f} | {spent.steps:.0f}"


def as_json(row: PooledRow, runs: list[Path]) -> dict[str, Any]:
    """All numbers of one row."""
    spent = mean_cost(runs, row.result.judge)
    return {
        "result": row.result.model_dump(mode="json"),
        "by_seed": list(row.by_seed),
        "difference": row.difference.model_dump(mode="json") if row.difference else None,
        "difference_by_seed": list(row.difference_by_seed),
        "cost": spent and asdict(spent),
    }


if __name__ == "__main__":
    main()
