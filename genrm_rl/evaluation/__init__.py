"""How good is a judge? Rows, metrics with intervals, benchmark scoring rules, and the report."""

from genrm_rl.evaluation.intervals import bootstrap_interval, mcnemar_exact, paired_difference
from genrm_rl.evaluation.metrics import compare, compare_all, summarise
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
    "mcnemar_exact",
    "paired_difference",
    "read_records",
    "record_from_judgment",
    "record_from_probability",
    "summarise",
    "write_records",
]
