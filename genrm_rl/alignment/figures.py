"""Figures of an alignment report, in the style of the bootstrap report."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from genrm_rl.evaluation.plots import DASHES, MARKERS, SENTINELS, svg


def gold_figure(report: dict[str, Any]) -> str | None:
    """Proxy against gold by step: how often the judge prefers the policy to its start, and how often it is right."""
    rows = [row for row in report["evaluation"] if row["decoding"] == "sampled"]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    lines: dict[str, list[tuple[int, float]]] = {}
    for name in sets:
        mine = sorted((row for row in rows if row["set"] == name), key=lambda row: row["step"])
        gold = [(row["step"], 100 * row["gold_accuracy"]) for row in mine if row["gold_accuracy"] is not None]
        proxy = [(row["step"], 100 * row["proxy_win_rate"]) for row in mine if row.get("proxy_win_rate") is not None]
        if gold:
            lines[f"{name}: right"] = gold
        if proxy:
            lines[f"{name}: judge prefers it to the start"] = [(0, 50.0), *proxy]
    if not lines:
        return None
    return _lines("proxy-gold", "steps", "%", lines)


def step_figure(report: dict[str, Any], key: str, label: str) -> str | None:
    """One number by step; None if it never existed."""
    points = [(row["step"] + 1, row[key]) for row in report["steps"] if row.get(key) is not None]
    return _lines(key, "steps", label, {"": points}) if len(points) > 1 else None


def _lines(name: str, x_label: str, y_label: str, lines: dict[str, list[tuple[int, float]]]) -> str:
    def draw(axes: Axes) -> None:
        for number, (label, points) in enumerate(lines.items()):
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=SENTINELS[f"series-{number}"],
                linestyle=DASHES[number],
                marker=MARKERS[number],
                markersize=4,
                label=label or None,
            )
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(axis="y")
        if any(lines):
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)

    spoken = "; ".join(
        f"{label or y_label}: {points[0][1]:.3g} to {points[-1][1]:.3g}" for label, points in lines.items()
    )
    return svg(name.replace("/", "-"), spoken, 2.6 + 0.22 * len(lines), draw)
