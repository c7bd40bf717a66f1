"""What is wrong with a run, in sentences, from what its steps and probes recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genrm_rl.config.watching import AlarmConfig
from genrm_rl.evaluation.view import decimals, percent, words

Row = Mapping[str, Any]
SHOWN = 3  # places that one sentence names


def step_alarms(steps: Sequence[Row], config: AlarmConfig) -> list[str]:
    """Masked answers, KL, numbers that are none, updates that were skipped, steps that taught nothing."""
    found = []
    masked = {row["step"] + 1: share for row in steps if (share := masked_share(row)) > config.masked}
    if masked:
        worst = max(masked, key=masked.__getitem__)
        found.append(
            f"Rewards are missing: more than {percent(config.masked, 0)} % of the answers of {_steps(masked)} have "
            f"none; most in step {worst} ({percent(masked[worst])} %)."
        )
    far = [row["step"] + 1 for row in steps if _number(row, "train/kl_reference") > config.kl]
    if far:
        last = max((_number(row, "train/kl_reference") for row in steps), default=0.0)
        found.append(
            f"The policy is far from its start: KL above {config.kl:g} nats per token in {_steps(far)}, at most "
            f"{decimals(last)}."
        )
    broken = {row["step"] + 1: names for row in steps if (names := _not_finite(row))}
    if broken:
        names = ", ".join(dict.fromkeys(name for each in broken.values() for name in each))
        found.append(f"Not finite in {_steps(broken)}: {names}.")
    skipped = [row["step"] + 1 for row in steps if _number(row, "train/skipped_updates") > 0]
    if skipped:
        found.append(f"Updates were skipped in {_steps(skipped)}, because their loss or gradient was not finite.")
    empty = [row["step"] + 1 for row in steps if _number(row, "train/empty") > 0]
    if empty:
        found.append(f"Nothing was learned in {_steps(empty)}: no group had two different rewards.")
    return found


def masked_share(row: Row) -> float:
    """Share of a step's answers (alignment) or episodes (agents) without a reward."""
    if row.get("reward/masked_share") is not None:
        return float(row["reward/masked_share"])
    lost, all_of_them = row.get("reward/masked"), row.get("rollout/episodes")
    return lost / all_of_them if lost and all_of_them else 0.0


def probe_alarms(probes: Mapping[str, tuple[int, int]], limit: float, whose: str) -> list[str]:
    """One sentence if null answers win too often; ``probes`` are (wins, judged) by kind."""
    over = over_limit(probes, limit)
    if not over:
        return []
    named = ", ".join(f"{words(kind)} {probes[kind][0]} of {probes[kind][1]}" for kind in over)
    return [f"Null answers win more than {percent(limit, 0)} % against {whose}, and it learns to write them: {named}."]


def over_limit(probes: Mapping[str, tuple[int, int]], limit: float) -> list[str]:
    """Kinds that win too often, worst first."""
    over = [kind for kind, (wins, judged) in probes.items() if judged and wins / judged > limit]
    return sorted(over, key=lambda kind: -probes[kind][0] / probes[kind][1])


def _number(row: Row, key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _not_finite(row: Row) -> list[str]:
    return [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]


def _steps(numbers: Iterable[int]) -> str:
    """``step 3``, ``steps 3, 4 and 7``, ``steps 3, 4, 5 and 20 more``."""
    named = list(numbers)
    if len(named) == 1:
        return f"step {named[0]}"
    if len(named) <= SHOWN:
        return f"steps {', '.join(map(str, named[:-1]))} and {named[-1]}"
    return f"steps {', '.join(map(str, named[:SHOWN]))} and {len(named) - SHOWN} more"
