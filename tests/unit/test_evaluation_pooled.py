"""Several seeds of one comparison as one table, with the seeds' spread in its intervals."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrm_rl.evaluation.pooled import pool_runs
from genrm_rl.evaluation.records import RECORDS, write_records
from tests.unit.evaluation_rows import row


def write_suite(run: Path, judge: str, right: int, pairs: int = 40) -> None:
    """A judge that is right in both orders on the first ``right`` pairs of a run, else wrong; prompts are the run's."""
    rows = [
        row(
            f"p{i}",
            "A",
            "AA" if i < right else "BB",
            0.9 if i < right else 0.1,
            judge=judge,
            prompt_id=f"{run.name}{i}",
        )
        for i in range(pairs)
    ]
    folder = run / f"evaluation/{judge}/id/sampled/judgments"
    folder.mkdir(parents=True)
    write_records(folder / RECORDS, rows)


def test_the_seeds_own_spread_is_in_the_pooled_intervals(tmp_path):
    for seed, right in enumerate((24, 30, 36)):
        write_suite(tmp_path / f"seed{seed}", "base", 20)
        write_suite(tmp_path / f"seed{seed}", "judge", right)
    pooled = pool_runs([tmp_path / f"seed{n}" for n in range(3)], baseline="base", resamples=500, seed=0)
    judge, base = pooled["judge", "id", "sampled"], pooled["base", "id", "sampled"]
    assert judge.by_seed == pytest.approx((0.6, 0.75, 0.9)) and judge.result.n == 120
    # Mean 0.75, s 0.15, t(2) = 4.303: +- 0.373, cut at 1; the prompts alone leave about +- 0.08.
    assert judge.result.ci95 == (pytest.approx(0.75 - 0.3727, abs=1e-3), 1.0)
    assert judge.within_ci95[0] > 0.65 and judge.within_ci95[1] < 0.85
    assert judge.difference_by_seed == pytest.approx((0.1, 0.25, 0.4))
    assert judge.difference.difference == pytest.approx(0.25)
    assert judge.difference.ci95 == pytest.approx((0.25 - 0.3727, 0.25 + 0.3727), abs=1e-3)
    assert base.difference is None and base.result.ci95 == base.within_ci95  # all seeds equal: the prompts are all


def test_one_run_alone_has_the_interval_of_its_prompts(tmp_path):
    write_suite(tmp_path / "only", "judge", 30)
    (alone,) = pool_runs([tmp_path / "only"], baseline="base", resamples=300, seed=0).values()
    assert alone.result.ci95 == alone.within_ci95 and alone.difference is None
