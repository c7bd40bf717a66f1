"""How good is a judge? Rows, metrics with intervals, benchmark scoring rules, and the report."""

from genrm_rl.evaluation.differences import compare, compare_all
from genrm_rl.evaluation.intervals import bootstrap_interval, over_seeds, paired_difference, sign_flip_test
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import (
    JudgmentRecord,
    Vote,
    read_records,
    record_from_judgment,
    record_from_probability,
    write_records,
)
from genrm_rl.evaluation.schema import Report

__all__ = [
    "JudgmentRecord",
    "Report",
    "Vote",
    "bootstrap_interval",
    "compare",
    "compare_all",
    "over_seeds",
    "paired_difference",
    "read_records",
    "record_from_judgment",
    "record_from_probability",
    "sign_flip_test",
    "summarise",
    "write_records",
]
