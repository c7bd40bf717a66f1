"""A policy aligned with a judge that fails at 30 % of the calls, in every way that a judge can fail.

    python jobs/benchmark_judge_faults.py --serving.checkpoint runs/ID/methods/star_dpo/round1/checkpoint

Serves the judge, puts a proxy in front of it that spoils a seeded share of its replies, runs an ordinary alignment job
against the proxy, and then compares every reward in the run's records with what the judge truly said. Writes
faults.json into the run directory; exits with 1 if a single reward was invented. Other options are settings of
``align``.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from genrm_rl.alignment.audit import Audit, audit_run
from genrm_rl.alignment.hosts import own_service
from genrm_rl.alignment.job import check_judge, reserved_cpus, run_alignment
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.rewards.faults import FAULTS, FaultyProxy, Truth
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import read_json, write_json

CONFIG = Path(__file__).parent / "configs" / "align_tiny.yaml"
PATIENCE = [
    *("--reward.deadline", "5"),
    *("--reward.attempts", "3"),
    *("--reward.backoff", "0.05"),
    *("--reward.max-backoff", "0.5"),
]
LATE_SECONDS = 6.0  # beyond reward.deadline, within the time that the client still listens


def main() -> None:
    """Run, audit, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.3, help="share of the calls that fail")
    arguments, overrides = parser.parse_known_args()
    config = load_config(AlignConfig, CONFIG, ["--run.id", "judge_faults", *PATIENCE, *overrides])
    check_judge(config)
    console = Console()
    with (
        ray_session(cpus=math.ceil(reserved_cpus(config))),
        own_service(config, console) as url,
        FaultyProxy(url, rate=arguments.rate, seed=config.run.seed, late_seconds=LATE_SECONDS) as proxy,
    ):
        at_proxy = config.model_copy(update={"reward": config.reward.model_copy(update={"url": proxy.url})})
        run = run_alignment(at_proxy, console)
    audit = audit_run(run, proxy.truth.rewards)
    write_json(
        run / "faults.json",
        {"rate": arguments.rate, "calls": proxy.truth.calls, "faults": proxy.truth.faults, "audit": vars(audit)},
    )
    console.print(fault_table(proxy.truth))
    console.print(audit_table(audit, read_json(run / "reward_client.json")))
    if audit.fabricated:
        console.print(f"{len(audit.fabricated)} rewards were invented, the first: {audit.fabricated[0]}", style="red")
        sys.exit(1)


def fault_table(truth: Truth) -> Table:
    """How often each fault was served."""
    failed = sum(truth.faults.values())
    share = 100 * failed / truth.calls
    table = Table("fault", "calls", title=f"{failed} of {truth.calls} calls failed ({share:.0f} %)")
    for name in FAULTS:
        table.add_row(name, str(truth.faults[name]))
    return table


def audit_table(audit: Audit, client: dict[str, object]) -> Table:
    """What became of the answers, and what the client saw."""
    table = Table("what", "count", title="rewards in the run's records")
    table.add_row("answers", str(audit.answers))
    table.add_row("rewards that the judge gave", str(audit.rewarded - len(audit.fabricated)))
    table.add_row("rewards that nobody gave", str(len(audit.fabricated)))
    for mask, count in sorted(audit.masked.items()):
        table.add_row(f"masked: {mask}", str(count))
    for name in ("calls", "busy", "lost", "other_version", "unreadable"):
        table.add_row(f"client: {name.replace('_', ' ')}", str(client[name]))
    return table


if __name__ == "__main__":
    main()
