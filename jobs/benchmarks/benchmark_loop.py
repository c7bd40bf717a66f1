"""Does the closed loop improve the judge? The next judge with the new pairs, against the same training without them.

    python jobs/benchmarks/benchmark_loop.py --root runs/loop --seeds 0 1 2

Of every seed there are one turn of the closed loop (``jobs/configs/quickstart.yaml``) and two controls, all of which
continue where they were: the first judge, which the loop trained on the first pairs, and a *longer* judge, trained on
the first pairs alone with as many optimizer steps as the next judge took, on the same traces. Writes loop.json and
loop.md into ``--root``: paired differences on every held-out set. Other options are overrides of the loop.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.closed_loop.settings import next_judge_settings
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.evaluation.changes import AccuracyChange, accuracy_changes
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.storage import is_complete, read_manifest, write_atomic, write_json
from genrm_rl.stories.bootstrap_genrm import run_bootstrap
from genrm_rl.stories.close_loop import run_loop

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
FIRST, NEXT, LONGER = "turn1/bootstrap", "turn1/judge", "longer"
TITLES = {FIRST: "the first judge", LONGER: "as many steps on the first pairs alone"}
TRACES = "traces/base-part1"


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/loop"), help="folder of the runs and the table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the loops")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, only make the table")
    arguments, overrides = parser.parse_known_args()
    console, loops = Console(), list[Path]()
    for seed in arguments.seeds:
        words = ["--run.root", str(arguments.root), "--run.id", f"loop_seed{seed}", "--run.seed", str(seed)]
        config = load_config(LoopConfig, CONFIG, [*overrides, *words])
        loops.append(arguments.root / config.run.id)
        if not arguments.tables_only:
            run_loop(config, console)
            if is_complete(checkpoint(loops[-1] / NEXT, config.method)):
                run_bootstrap(longer_settings(config, loops[-1]), console)
    write_table(arguments.root, loops, console)


def longer_settings(config: LoopConfig, loop: Path) -> RunConfig:
    """The control: the first pairs alone, their traces as sampled, and the steps of the next judge."""
    settings = next_judge_settings(config, loop, LONGER, {})
    steps = read_manifest(checkpoint(loop / NEXT, config.method))["steps"]
    examples = read_manifest(loop / FIRST / f"methods/{config.method}/round1/examples")["examples"]
    if not (loop / LONGER / TRACES).is_dir():
        shutil.copytree(loop / FIRST / TRACES, loop / LONGER / TRACES)
    fit = "sft" if config.method in ("star_sft", "star_rationalizer") else "dpo"
    longer = getattr(settings.bootstrap, fit).model_copy(
        update={"epochs": steps * getattr(settings.bootstrap, fit).batch_size / examples}
    )
    return settings.model_copy(update={"bootstrap": settings.bootstrap.model_copy(update={fit: longer})})


def checkpoint(run: Path, method: str) -> Path:
    """Of the only round."""
    return run / f"methods/{method}/round1/checkpoint"


def write_table(root: Path, loops: Sequence[Path], console: Console) -> None:
    """JSON with every number, Markdown to read. Loops that got no new pairs have no next judge and are left out."""
    taught = [loop for loop in loops if (loop / NEXT / "report.json").is_file() and (loop / LONGER).is_dir()]
    where = machine()
    changes = {
        name: accuracy_changes([loop / name for loop in taught], [loop / NEXT for loop in taught]) for name in TITLES
    }
    labels = {loop.name: read_manifest(loop / "turn1/preferences/labels") for loop in taught}
    lines = [
        "# The next judge of a closed loop, with and without the new pairs",
        "",
        f"{len(taught)} loops; {where['cpu']}, {where['cores']} cores. Folded accuracy of the next judge and of each "
        "control in percent, the difference in points with its 95 % interval over prompts and seeds.",
        "",
        "| control | test set | pairs | control | next judge | difference | by seed |",
        "|---|---|---|---|---|---|---|",
        *(line(TITLES[name], change) for name, rows in changes.items() for change in rows),
    ]
    text = "\n".join(lines) + "\n"
    write_atomic(root / "loop.md", text)
    write_json(root / "loop.json", as_json(where, labels, changes))
    console.print(text, markup=False, highlight=False)


def as_json(
    where: Mapping[str, Any], labels: Mapping[str, Any], changes: Mapping[str, Sequence[AccuracyChange]]
) -> dict[str, Any]:
    """All numbers."""
    rows = [{"control": name, **asdict(change)} for name, found in changes.items() for change in found]
    return {"machine": where, "versions": versions(), "labels": labels, "rows": rows}


def line(control: str, change: AccuracyChange) -> str:
    """One row of the table."""
    return f"| {control} | {change.test_set}, {change.decoding} | {change.pairs} | {change.cells()} |"


if __name__ == "__main__":
    main()
