"""How often the gate promotes a judge that is no better, and how often one that is.

    python jobs/benchmarks/benchmark_gate.py

Draws the gate judgments of a parent and a candidate from stated accuracies, both orders of every pair, and asks the
gate itself. A pair has a difficulty that both judges share; each judge's two orders are drawn independently given it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from genrm_rl.bootstrap.gate import decide
from genrm_rl.config import BootstrapConfig
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.judging.types import Verdict

RIGHT, WRONG = Verdict.PREFERS_A, Verdict.PREFERS_B
SPREAD = 4.0  # of the Beta distribution of difficulties: most pairs are neither sure nor a coin flip


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[16, 50, 100, 200, 300], help="sizes of the gate")
    parser.add_argument("--accuracies", type=float, nargs="+", default=[0.55, 0.67, 0.9], help="of the parent")
    parser.add_argument("--gains", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2], help="of the candidate")
    parser.add_argument("--repeats", type=int, default=1000, help="gates drawn for each cell")
    parser.add_argument("--resamples", type=int, default=500, help="of each gate's interval")
    arguments = parser.parse_args()
    print("| pairs | parent | " + " | ".join(f"{100 * gain:+.0f} points" for gain in arguments.gains) + " |")
    print("|" + "---|" * (2 + len(arguments.gains)))
    for pairs in arguments.pairs:
        for accuracy in arguments.accuracies:
            cells = [
                promoted_share(pairs, accuracy, gain, arguments.repeats, arguments.resamples)
                if accuracy + gain < 1
                else None
                for gain in arguments.gains
            ]
            shown = ["-" if cell is None else f"{100 * cell:.1f} %" for cell in cells]
            print(f"| {pairs} | {100 * accuracy:.0f} % | {' | '.join(shown)} |")


def promoted_share(pairs: int, accuracy: float, gain: float, repeats: int, resamples: int) -> float:
    """Share of ``repeats`` gates that promote a candidate whose accuracy per order is ``accuracy + gain``."""
    config = BootstrapConfig()
    promoted = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([pairs, round(1000 * accuracy), round(1000 * gain), repeat])
        ease_N = rng.beta(SPREAD * accuracy, SPREAD * (1 - accuracy), size=pairs)
        better_N = 1 - (1 - ease_N) * (1 - accuracy - gain) / (1 - accuracy)
        parent, candidate = judgments(rng, ease_N), judgments(rng, better_N)
        promoted += decide(parent, candidate, config, resamples=resamples, seed=0).promoted
    return promoted / repeats


def judgments(rng: np.random.Generator, right_N: np.ndarray) -> list[JudgmentRecord]:
    """One verdict per order; ``right_N`` is the probability of a right one. Contradictions are ties."""
    orders_N2 = rng.random((len(right_N), 2)) < right_N[:, None]
    return [_record(f"p{i}", orders) for i, orders in enumerate(orders_N2.tolist())]


def _record(pair_id: str, right: Sequence[bool]) -> JudgmentRecord:
    first, second = (RIGHT if each else WRONG for each in right)
    p_a = {0: 0.1, 1: 0.5, 2: 0.9}[sum(right)]
    return JudgmentRecord("judge", "gate", "sampled", pair_id, "A", first, second, p_a=p_a)


if __name__ == "__main__":
    main()
