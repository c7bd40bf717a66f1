"""How every report's page is rendered: one environment, one style sheet, one way to write numbers."""

from __future__ import annotations

import json
from typing import Any

import jinja2

from genrm_rl.evaluation import glossary, view

LONGEST_TEXT = 6000  # characters of one text on a page; the JSON keeps it whole


def page_environment(package: str = "genrm_rl.evaluation") -> jinja2.Environment:
    """Templates of ``package``, with those of this one (style sheet) behind them; texts of models and data are escaped,
    and a name that does not exist is an error."""
    packages = dict.fromkeys((package, "genrm_rl.evaluation"))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(each, "templates") for each in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": view.percent, "percent_interval": view.percent_interval, "points": view.points,
        "points_interval": view.points_interval, "direction": view.direction, "count": view.count,
        "compact": view.compact_count, "duration": view.duration, "decimals": view.decimals, "p_value": view.p_value,
        "words": view.words, "shorten": shorten,
        "way": lambda row: view.way(row["ci95"]), "settings": settings, "explain": glossary.explain, "slug": view.slug,
    }  # fmt: skip
    return environment


def settings(config: Any) -> str:
    """Resolved settings as people read them."""
    return json.dumps(config, indent=2, ensure_ascii=False)


def shorten(text: str) -> str:
    """``text``, or its beginning and how much more there is."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n\u2026 {len(text) - LONGEST_TEXT:,} more characters in report.json"
