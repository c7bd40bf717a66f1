"""The simulated sizes as a table and as a curve."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import mean

from genrm_rl.simulation.scale import StepCost
from genrm_rl.simulation.workload import GPU, SPREAD, Workload

Costs = Mapping[int, Sequence[StepCost]]


def steady(found: Sequence[StepCost]) -> Sequence[StepCost]:
    """Without the first step, in which connections are made, if there are more."""
    return found[1:] or found


def table(costs: Costs, workload: Workload, where: str) -> str:
    """Markdown: one line per size, means over the steps after the first."""
    lines = [
        "# One driver, 1 to 512 engines",
        "",
        f"Engines, judge and learners sleep (8B policy and judge on {GPU}s, modelled: {workload.token * 1e3:.1f} ms a "
        f"token, {workload.judge:.1f} s a judged group, {workload.train:.1f} s train, {workload.publish:.1f} s "
        f"publish; lengths log-normal around {workload.mean_tokens:.0f} tokens, sigma {SPREAD}, at most "
        f"{workload.max_tokens}; {workload.groups} groups of {workload.samples} answers to an engine). The driver is "
        f"real, on {where}, which it shares with the sleepers.",
        "",
        "| engines | answers a step | ideal step, s | measured step, s | efficiency | outside generate, judge, train, "
        "publish | beyond the ideal | driver CPU, s | events per driver CPU second |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for engines, found in costs.items():
        steps = steady(found)
        seconds, ideal = mean(c.seconds for c in steps), mean(c.ideal for c in steps)
        cpu, outside = mean(c.driver_cpu for c in steps), mean(c.outside for c in steps)
        lines.append(
            f"| {engines} | {engines * workload.groups * workload.samples:,} | {ideal:.1f} | {seconds:.1f} | "
            f"{ideal / seconds:.0%} | {outside:.2f} s, {outside / seconds:.1%} | {seconds - ideal:.1f} s, "
            f"{(seconds - ideal) / seconds:.1%} | {cpu:.1f} | {mean(c.events for c in steps) / cpu:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def middle(found: Sequence[StepCost], staleness: int) -> Sequence[StepCost]:
    """Without the steps in which the answers ahead are still begun, and without the last, which have none ahead."""
    return found[staleness + 1 : len(found) - staleness] or found


def overlap_table(synchronous: Costs, overlapped: Costs, staleness: int, workload: Workload, where: str) -> str:
    """Markdown: a step that generates and then learns, against one whose answers were begun before."""
    columns = (
        "engines", "answers a step", "ideal synchronous step, s", "synchronous step, s",
        f"step with staleness {staleness}, s", "ratio", "updates behind: mean, largest",
        "answers carried over a publication", "driver CPU, s: synchronous, overlapped",
    )  # fmt: skip
    lines = [
        f"Long-tailed lengths: log-normal, median {workload.median_tokens:.0f} tokens, mean "
        f"{workload.mean_tokens:.0f}, at most {workload.max_tokens} (the 99th percentile); {workload.groups} groups of "
        f"{workload.samples} answers to an engine. Modelled: {workload.token * 1e3:.1f} ms a token, "
        f"{workload.judge:.1f} s a judged group, {workload.train:.1f} s train, {workload.publish:.1f} s publish, in "
        f"which the engines stand still. The driver is real, on {where}, which it shares with the sleepers.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for engines, found in synchronous.items():
        before, after = steady(found), middle(overlapped[engines], staleness)
        seconds, faster = (mean(cost.seconds for cost in steps) for steps in (before, after))
        cpu, cpu_after = (mean(cost.driver_cpu for cost in steps) for steps in (before, after))
        lines.append(
            f"| {engines} | {engines * workload.groups * workload.samples:,} | {mean(c.ideal for c in before):.1f} | "
            f"{seconds:.1f} | {faster:.1f} | {faster / seconds:.2f} | {mean(c.staleness[0] for c in after):.2f}, "
            f"{max(c.staleness[1] for c in after):.0f} | {mean(c.carried for c in after):.1%} | {cpu:.1f}, "
            f"{cpu_after:.1f} |"
        )
    return "\n".join(lines) + "\n"


def curve(costs: Costs) -> str:
    """SVG: efficiency over engines, and the seconds beyond the ideal."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    sizes = list(costs)
    steps = [steady(found) for found in costs.values()]
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(sizes, [mean(c.ideal for c in s) / mean(c.seconds for c in s) for s in steps], "o-")
    left.set(title="efficiency (ideal / measured step)", ylim=(0, 1.05))
    right.plot(sizes, [mean(c.overhead for c in s) for s in steps], "o-", label="beyond the ideal")
    right.plot(sizes, [mean(c.driver_cpu for c in s) for s in steps], "s--", label="driver CPU")
    right.plot(sizes, [mean(c.outside for c in s) for s in steps], "^:", label="outside the loop's parts")
    right.set(title="seconds a step")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xlabel("engines")
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer)
    return buffer.getvalue().decode()
