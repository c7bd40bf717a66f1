"""What the reader of judgments costs: seconds, memory and disk of making it for 100,000 judgments, and how long a page
and a search take in a browser.

    python jobs/benchmarks/benchmark_reader.py --judgments 100000 --out runs/benchmark_reader

Judgments are made up: a question of 12 words, answers of 35, a rationale of 45 in each order. ``--sampled 12500`` adds
as many training pairs with eight sampled traces each, and the reason code of every trace. Without Chromium, what a
browser needs is not measured. Prints one JSON object and writes it to ``reader_benchmark.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from genrm_rl.config import DataConfig, RunConfig, RunSettings, SourceConfig
from genrm_rl.evaluation.records import RECORDS, record_from_judgment, write_records
from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.rollout.trace_store import REASONS_FILE, write_reasons, write_traces
from genrm_rl.runtime.run_directory import PROVENANCE
from genrm_rl.runtime.storage import publish_directory, write_atomic, write_json, write_json_lines

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import browser as browsers  # the one that tests of pages use

SUITE_PAIRS = 5000
WORDS = 20_000  # of the made-up language
NEEDLE = "needleword"
MIB = 2**20
READ = """
import sys
from pathlib import Path
from rich.console import Console
from genrm_rl.reading.command import read_run
read_run(Path(sys.argv[1]), Console(stderr=True))
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""  # KiB; what `resource` says of a child begins with its parent's


def main() -> None:
    """Make a run, read it in a process of its own, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judgments", type=int, default=100_000)
    parser.add_argument("--sampled", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark_reader"))
    options = parser.parse_args()
    run = options.out / "run"
    shutil.rmtree(run, ignore_errors=True)
    make_run(run, options.judgments, options.sampled)
    found = read(run) | {"judgments": options.judgments, "pairs_with_sampled_traces": options.sampled}
    browser = look(run / "reader") or {"browser": "there is no chromium here"}
    write_json(options.out / "reader_benchmark.json", found | browser)
    print(json.dumps(found | browser, indent=2))


def make_run(run: Path, judgments: int, sampled: int = 0) -> None:
    """A run directory as ``evaluate`` leaves it: one test set after another, each judged in both orders; with sampled
    pairs, as a bootstrap does."""
    draw = random.Random(0)
    language = ["".join(draw.choices("abcdefghijklmnoprstuvwy", k=draw.randint(2, 10))) for _ in range(WORDS)]
    weights = [1 / (rank + 10) for rank in range(WORDS)]

    def text(words: int) -> str:
        return " ".join(draw.choices(language, weights, k=words))

    sources = []
    for number, start in enumerate(range(0, judgments, SUITE_PAIRS)):
        pairs = [
            PreferencePair.create(f"{text(12)} {start + n}", text(35), text(35))
            for n in range(min(SUITE_PAIRS, judgments - start))
        ]
        rows = [{"prompt": p.prompt[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
        write_json_lines(run / f"data/set{number}.jsonl", rows)
        sources.append(SourceConfig(name=f"set{number}", path=f"data/set{number}.jsonl"))
        judge_set(run, f"set{number}", pairs, draw, text)
    train = ()
    if sampled:
        pairs = [PreferencePair.create(f"{text(12)} lesson {n}", text(35), text(35)) for n in range(sampled)]
        rows = [{"prompt": p.prompt[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
        write_json_lines(run / "data/train.jsonl", rows)
        train = (SourceConfig(name="train", path="data/train.jsonl"),)
        sample_round(run, pairs, draw, text)
    data = DataConfig(root=str(run.absolute()), test=tuple(sources), train=train)
    config = RunConfig(run=RunSettings(id="reader"), data=data)
    write_atomic(run / "config.yaml", yaml.safe_dump(config.model_dump(mode="json")))
    write_json(run / PROVENANCE, {"run_id": "reader"})


def judge_set(
    run: Path, name: str, pairs: list[PreferencePair], draw: random.Random, text: Callable[[int], str]
) -> None:
    """Traces and judgments of one test set, as stages."""
    traces = [trace for pair in pairs for trace in made_up_traces(pair, draw, text)]
    traces[0] = replace(traces[0], text=f"{traces[0].text} {NEEDLE}")
    by_pair: dict[str, list[Trace]] = {}
    for trace in traces:
        by_pair.setdefault(trace.pair_id, []).append(trace)
    facts = {"judge": "made_up", "test_set": name, "decoding": "sampled"}
    folder = run / "evaluation" / "made_up" / name / "sampled"
    with publish_directory(folder / "traces", {}) as partial:
        write_traces(partial / "traces.parquet", traces)
    with publish_directory(folder / "judgments", {}) as partial:
        write_records(
            partial / RECORDS, (record_from_judgment(pair, fold(by_pair[pair.id]), **facts) for pair in pairs)
        )


def sample_round(run: Path, pairs: list[PreferencePair], draw: random.Random, text: Callable[[int], str]) -> None:
    """Four traces of each pair in each order, and a round that chose from them."""
    traces = [
        replace(trace, trace_id=f"{trace.trace_id}{sample}", sample_index=sample)
        for pair in pairs
        for sample in range(4)
        for trace in made_up_traces(pair, draw, text)
    ]
    with publish_directory(run / "traces/made_up-part1", {}) as partial:
        write_traces(partial / "traces.parquet", traces)
    with publish_directory(run / "methods/star_sft/round1/examples", {"reasons": {}}) as partial:
        codes = ("kept", "wrong_verdict", "duplicate")
        write_reasons(partial / REASONS_FILE, ((trace.trace_id, draw.choice(codes)) for trace in traces))


def made_up_traces(pair: PreferencePair, draw: random.Random, text: Callable[[int], str]) -> Iterator[Trace]:
    """One trace per order; the second contradicts the first now and then."""
    p_a = draw.random()
    for swapped in (False, True):
        mine = p_a if swapped is False or draw.random() < 0.2 else 1 - p_a
        verdict = Verdict.PREFERS_A if mine > 0.5 else Verdict.PREFERS_B
        words, order = text(45), "ba" if swapped else "ab"
        yield Trace(
            trace_id=f"sampled/made_up/cot/{pair.id}/{order}/0",
            pair_id=pair.id,
            swapped=swapped,
            form="cot",
            text=words,
            rationale=words,
            verdict=verdict,
            p_a=mine,
            prompt_token_ids=(),
            completion_token_ids=(),
            finish_reason="stop",
            judge_version="made_up",
            temperature=1.0,
            top_p=1.0,
            seed=0,
            sample_index=0,
        )


def read(run: Path) -> dict[str, Any]:
    """What ``genrm-rl read`` does, in a process of its own, which says how much memory it had at most."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", READ, str(run)], check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = [file.stat().st_size for file in (run / "reader").rglob("*") if file.is_file()]
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_memory_mib": round(int(done.stdout) / 1024),
        "disk_mib": round(sum(files) / MIB),
        "files": len(files),
        "largest_file_mib": round(max(files) / MIB, 2),
    }


def look(reader: Path) -> dict[str, float] | None:
    """Seconds in Chromium until a page of judgments, the first page with a filter, and searches are there."""
    if browsers.CHROMIUM is None:
        return None
    index, pages = (reader / "index.html").as_uri(), sorted((reader / "pages").iterdir())
    done = "document.getElementById('status').textContent.includes('found')"
    word = (reader / "data/words-0.js").read_text().partition(',"')[2].partition(" ")[0]
    with tempfile.TemporaryDirectory() as profile, browsers.Browser(Path(profile)) as browser:
        browser.open(index)  # the browser itself has started
        asked = {
            "page_seconds": (pages[len(pages) // 2].as_uri(), "document.querySelectorAll('article').length > 0"),
            "page_of_a_filter_seconds": (
                f"{pages[len(pages) // 2].as_uri()}?show=wrong",
                "document.getElementById('status').textContent !== ''",
            ),
            "first_page_seconds": (index, "document.querySelectorAll('tbody tr').length > 0"),
            "filter_seconds": (f"{index}?show=wrong", done),
            "filter_of_traces_seconds": (f"{index}?show=traces-duplicate", done),
            "search_rare_word_seconds": (f"{index}?q={NEEDLE}", done),
            "search_beginning_of_words_seconds": (f"{index}?q={word[:2]}", done),
        }
        return {name: seconds(browser, *where) for name, where in asked.items()}


def seconds(browser: Any, address: str, done: str) -> float:
    """From asking for a page, in a tab of its own, until ``done`` is true in it."""
    began = time.perf_counter()
    browser.open(address).until(done)
    return round(time.perf_counter() - began, 3)


if __name__ == "__main__":
    main()
