"""Figures of an alignment report, in the style of the bootstrap report."""

from __future__ import annotations

from typing import Any

from genrm_rl.evaluation.plots import line_figure


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
    return line_figure("proxy-gold", "steps", "%", lines)


def step_figure(report: dict[str, Any], key: str, label: str) -> str | None:
    """One number by step; None if it never existed."""
    points = [(row["step"] + 1, row[key]) for row in report["steps"] if row.get(key) is not None]
    return line_figure(key, "steps", label, {"": points}) if len(points) > 1 else None
