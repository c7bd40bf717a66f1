"""What a small real model learns from real people: SmolLM2-135M, one run per set of human pairs, method and seed.

    python jobs/benchmarks/benchmark_real_judges.py --data /path/to/preferences --root runs/real_judges

Every (set, method, seed) is an ordinary bootstrap run that continues where it was; the table is made from what is on
disk. Writes real_judges.json and real_judges.md into ``--root``. Two cores need about 100 minutes for the default
methods and one seed; ``--device cuda`` takes all pairs of all sets, two epochs in one run per method.

``star_dpo`` and ``verdict_rl`` reason on top: they start from the weights of the ``folded`` judge of the same set and
seed. The lexical model and the longer answer are measured on the same pairs in every run.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.evaluation.baselines import LEXICAL, LONGER
from genrm_rl.evaluation.counts import prompts_of
from genrm_rl.evaluation.intervals import bootstrap_interval, over_seeds
from genrm_rl.evaluation.job import measure_judge
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.pooled import concatenate
from genrm_rl.evaluation.records import RECORDS, JudgmentRecord, read_records
from genrm_rl.learners.fit import load_result
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import is_complete, write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap

CONFIG = Path(__file__).parents[1] / "configs" / "real_judges.yaml"
METHODS: dict[str, list[str]] = {
    "untrained": [],
    "folded": ["--bootstrap.methods", "[genrm_direct]"],
    "eq7": ["--bootstrap.methods", "[genrm_direct]", "--bootstrap.direct.folded-margin", "0"],
    "bradley_terry": ["--bootstrap.methods", "[bradley_terry]"],
    "star_dpo": ["--bootstrap.methods", "[star_dpo]"],
    "verdict_rl": ["--bootstrap.methods", "[verdict_rl]"],
}
ON_TOP = ("star_dpo", "verdict_rl")
LABELS = {
    "untrained": "untrained, no reasoning",
    "folded": "direct, folded margin (0.8) and Eq. 7 (0.2)",
    "eq7": "direct, Eq. 7",
    "bradley_terry": "Bradley-Terry",
    "star_dpo": "STaR-DPO from the folded judge",
    "verdict_rl": "verdict RL from the folded judge",
    LEXICAL: "lexical model",
    LONGER: "longer answer",
}
SETS = ("truthfulqa", "hh_harmless")
MORE_SETS = ("hh_helpful", "tldr", "ultrafeedback", "gsm8k_solutions", "fine_grained_qa", "oasst")
LIMITS = {"hh_harmless": 900}  # pairs that two cores have time for
CUDA = [
    "--rollout.device", "cuda", "--rollout.gpu-share", "0.4", "--rollout.gpu-memory-utilization", "0.35",
    "--learner.gpus-per-worker", "0.5", "--learner.precision", "bfloat16", "--learner.tokens-per-microbatch", "65536",
    "--model.max-context", "1024", "--evaluation.pairs", "600",
]  # fmt: skip
FOLDED = "methods/genrm_direct/round1/checkpoint"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: a method on the pairs of ``sets``."""

    sets: tuple[str, ...]
    method: str
    seed: int

    @property
    def id(self) -> str:
        """Its run's name."""
        return f"{'_'.join(self.sets) if len(self.sets) < 3 else 'all'}-{self.method}-seed{self.seed}"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/real_judges"), help="folder of the runs and the table")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder per set")
    parser.add_argument("--sets", nargs="+", default=None, help=f"default: {' '.join(SETS)}; on a GPU all")
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[:4], choices=METHODS, help="what is trained")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of data order and training")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: all pairs, all sets together")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make the table")
    arguments, overrides = parser.parse_known_args()
    cuda = arguments.device == "cuda"
    sets = tuple(arguments.sets or (SETS + MORE_SETS if cuda else SETS))
    cells = [
        Cell(group, method, seed)
        for seed in arguments.seeds
        for group in ([sets] if cuda else [(name,) for name in sets])
        for method in arguments.methods
    ]
    console = Console()
    for cell in cells:
        if not arguments.tables_only:
            run_cell(cell, arguments, overrides, console)
            write_table(arguments.root, cells, console)
    if arguments.tables_only:
        write_table(arguments.root, cells, console)


def run_cell(cell: Cell, arguments: argparse.Namespace, overrides: Sequence[str], console: Console) -> None:
    """Train and measure one cell, or read that it is done."""
    config = configure(cell, arguments, overrides)
    if cell.method == "untrained":
        measure_judge(config, "llm_judge", "direct", console)
    else:
        run_bootstrap(config, console)


def configure(cell: Cell, arguments: argparse.Namespace, overrides: Sequence[str]) -> RunConfig:
    """The run of one cell; ``overrides`` are the caller's last word."""
    cuda = arguments.device == "cuda"
    train = [{"path": f"{name}/train.jsonl.gz", "limit": None if cuda else LIMITS.get(name)} for name in cell.sets]
    values: dict[str, Any] = {
        "run.root": arguments.root,
        "run.id": cell.id,
        "run.seed": cell.seed,
        "data.root": arguments.data,
        "data.train": train,
        "data.gate": [{"path": f"{name}/validation.jsonl.gz"} for name in cell.sets],
        "data.test": [{"path": f"{name}/test.jsonl.gz", "name": name} for name in cell.sets],
    }
    if cell.method in ON_TOP:
        folded = arguments.root / Cell(cell.sets, "folded", cell.seed).id / FOLDED
        values["model.name"] = folded
    words = [word for key, value in values.items() for word in (f"--{key}", _word(value))]
    return load_config(RunConfig, CONFIG, [*words, *(CUDA if cuda else ()), *METHODS[cell.method], *overrides])


def _word(value: Any) -> str:
    return str(value).replace("None", "null")


def write_table(root: Path, cells: Sequence[Cell], console: Console) -> None:
    """JSON with every number, Markdown to read."""
    suites: dict[tuple[str, str], dict[int, list[JudgmentRecord]]] = {}
    fits: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        for file in sorted((root / cell.id / "evaluation").glob(f"*/*/*/judgments/{RECORDS}")):
            records = read_records(file)
            name = records[0].judge if records[0].judge in (LEXICAL, LONGER) else cell.method
            suites.setdefault((records[0].test_set, name), {})[cell.seed] = records
        for path in sorted((root / cell.id).glob("methods/*/round*/checkpoint")):
            if is_complete(path):
                fits.setdefault(("+".join(cell.sets), cell.method), []).append(_fit_facts(path))
    rows = [row(test_set, method, by_seed) for (test_set, method), by_seed in suites.items()]
    rows.sort(key=lambda each: (each["test_set"], list(LABELS).index(each["method"])))
    where = machine()
    facts = {"machine": where, "versions": versions(), "rows": rows}
    fitted = [{"sets": sets, "method": method, "fits": found} for (sets, method), found in fits.items()]
    write_json(root / "real_judges.json", facts | {"fits": fitted})
    text = "\n".join([f"{where['cpu']}, {where['cores']} cores", "", *markdown(rows), "", *markdown_fits(fitted)])
    write_atomic(root / "real_judges.md", text + "\n")
    console.print(text, markup=False, highlight=False)


def row(test_set: str, method: str, by_seed: dict[int, list[JudgmentRecord]]) -> dict[str, Any]:
    """One method on one test set over its seeds; intervals are over prompts, and over seeds where there are several."""
    pooled = summarise(concatenate(by_seed.values()), resamples=2000, by_category=False)
    alone = {
        seed: summarise(records, resamples=100, by_category=False).accuracy_folded for seed, records in by_seed.items()
    }
    margin, within = by_margin(concatenate(by_seed.values()))
    return {
        "test_set": test_set,
        "method": method,
        "seeds": list(by_seed),
        "n": pooled.n // len(by_seed),
        "accuracy_folded": pooled.accuracy_folded,
        "ci95": over_seeds(list(alone.values()), pooled.accuracy_folded_ci95)[0],  # type: ignore[arg-type]
        "by_seed": alone,
        "accuracy_by_margin": margin,
        "accuracy_by_margin_ci95": within,
        "right_in_both": pooled.right_in_both,
        "right_in_both_ci95": pooled.right_in_both_ci95,
        "first_position_rate": pooled.first_position_rate,
    }


def by_margin(records: Sequence[JudgmentRecord]) -> tuple[float, tuple[float, float] | None]:
    """Share of pairs for which the mean of both orders' log-odds is on the right side, also where their letters
    contradict each other (which ``accuracy_folded`` counts one half), with its interval over prompts."""
    points: dict[str, list[float]] = {}
    for record, prompt in zip(records, prompts_of(records), strict=True):
        known = [p for p in (record.p_a_ab, record.p_a_ba) if p is not None]
        odds = sum(_log_odds(p) for p in known) * (1 if record.label == "A" else -1)
        points.setdefault(prompt, []).append(0.5 if odds == 0 else float(odds > 0))
    right, counts = [sum(values) for values in points.values()], [len(values) for values in points.values()]
    return sum(right) / sum(counts), bootstrap_interval(right, counts, resamples=2000, seed=0)


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-15), 1 - 1e-15)
    return math.log(p) - math.log1p(-p)


def markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One line per test set and method, percent."""
    lines = [
        "| set | judge | pairs | folded | by margin | right in both orders | says the first | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        first, both = each["first_position_rate"], each["right_in_both"]
        margin = _percent(each["accuracy_by_margin"], each["accuracy_by_margin_ci95"])
        by_seed = ", ".join(f"{100 * value:.1f}" for value in each["by_seed"].values())
        lines.append(
            f"| {each['test_set']} | {LABELS[each['method']]} | {each['n']} | "
            f"{_percent(each['accuracy_folded'], each['ci95'])} | {margin} | "
            f"{'-' if both is None else _percent(both, each['right_in_both_ci95'])} | "
            f"{'-' if first is None else f'{100 * first:.0f}'} | {by_seed} |"
        )
    return lines


def markdown_fits(fitted: Sequence[dict[str, Any]]) -> list[str]:
    """What was trained on, and how long it took."""
    lines = ["| trained on | judge | steps | tokens | minutes | tokens/s |", "|---|---|---|---|---|---|"]
    for each in fitted:
        for fit in each["fits"]:
            lines.append(
                f"| {each['sets']} | {LABELS[each['method']]} | {fit['steps']} | {fit['tokens']:,} | "
                f"{fit['seconds'] / 60:.1f} | {fit['tokens'] / fit['seconds']:.0f} |"
            )
    return lines


def _fit_facts(checkpoint: Path) -> dict[str, Any]:
    result = load_result(checkpoint)
    return {"steps": result.steps, "tokens": result.tokens, "seconds": sum(each["seconds"] for each in result.history)}


def _percent(value: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (value, value)
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
