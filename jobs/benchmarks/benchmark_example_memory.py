"""Memory of the processes of a fit on a large file of examples: who writes it, who checks it, a worker that reads it.

    python jobs/benchmarks/benchmark_example_memory.py --pairs 60000 --tokens 4000

The pairs are random tokens, ``--tokens`` in each of both sequences. Every process is a new one; what it holds is its
anonymous memory at the worst moment (RssAnon of Linux). Mapped pages of the file belong to the page cache, which all
processes of a machine share and the kernel takes back when it needs room. The worker imports the learner, loads the
tiny model and lays out every batch of one epoch in the order of the seed; nothing is trained. The file goes into a
temporary folder (``--folder``: inside that one), and away at the end.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from genrm_rl.learners.examples import PairExample, read_examples, write_examples
from genrm_rl.runtime.provenance import machine
from placement.shapes import TINY

BATCH = 32  # pairs of an optimizer step
LOOK_SECONDS = 0.05
LOWEST, HIGHEST = 10, 110  # token ids of the tiny model


def main() -> None:
    """Run the three processes one after another and print what each held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60000)
    parser.add_argument("--tokens", type=int, default=4000, help="of each of the two sequences of a pair")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    arguments = parser.parse_args()
    table = Table("process", *(Column(name, justify="right") for name in ("anonymous, GB", "file, GB", "seconds")))
    console = Console()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "examples.arrow"
        steps: list[tuple[str, Callable[..., None], tuple[object, ...]]] = [
            ("writes the examples", write, (path, arguments.pairs, arguments.tokens)),
            ("checks them (the driver)", check, (path,)),
            ("lays out an epoch (a worker)", lay_out, (path,)),
        ]
        for name, work, details in steps:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as process:
                held, seconds = process.submit(measured, work, *details).result()
            table.add_row(name, f"{held / 1e9:.2f}", f"{path.stat().st_size / 1e9:.2f}", f"{seconds:.0f}")
    console.print(table)
    console.print(f"{machine()['cpu']}, {machine()['cores']} cores", highlight=False)


def measured(work: Callable[..., None], *details: object) -> tuple[int, float]:
    """Most anonymous memory of this process in bytes while ``work`` runs, and its seconds."""
    stop, most, began = threading.Event(), [0], time.perf_counter()

    def look() -> None:
        while not stop.wait(LOOK_SECONDS):
            most[0] = max(most[0], anonymous_bytes())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    work(*details)
    stop.set()
    looking.join()
    return max(most[0], anonymous_bytes()), time.perf_counter() - began


def anonymous_bytes() -> int:
    """RssAnon of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def write(path: Path, pairs: int, tokens: int) -> None:
    """Pairs as they are made."""
    write_examples(path, random_pairs(pairs, tokens))


def random_pairs(pairs: int, tokens: int) -> Iterator[PairExample]:
    """Two random sequences each."""
    rng = np.random.default_rng(0)
    for number in track(range(pairs), "written", console=Console(stderr=True)):
        chosen, rejected = rng.integers(LOWEST, HIGHEST, (2, tokens)).tolist()
        yield PairExample(tuple(chosen), 1, tuple(rejected), 1, str(number))


def check(path: Path) -> None:
    """Every example, as a fit reads them before it starts a worker."""
    for _ in track(read_examples(path), "checked", console=Console(stderr=True)):
        pass


def lay_out(path: Path) -> None:
    """The batches of an epoch."""
    from genrm_rl.config.model import LearnerConfig
    from genrm_rl.learners.learner import Learner
    from genrm_rl.learners.packing import collate
    from genrm_rl.learners.pair_objectives import PairLogprobs
    from genrm_rl.learners.schedule import batch_indices

    learner = Learner(TINY, LearnerConfig(cpus_per_worker=1))
    examples = read_examples(path)
    batches = batch_indices(len(examples), epochs=1, batch_size=BATCH, seed=0)
    for batch in track(batches, "laid out", console=Console(stderr=True)):
        for index in batch:
            collate(PairLogprobs().segments(examples[index]), packed=True)
    learner.close()


if __name__ == "__main__":
    main()
