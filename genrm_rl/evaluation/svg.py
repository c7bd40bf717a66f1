"""Figures as inline SVG whose colours are CSS variables, so that one drawing serves light and dark mode.

Matplotlib draws with sentinel colours that nothing else uses; afterwards each is replaced by ``var(--name)``. Series
differ by marker and dash as well as by colour.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Container, Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genrm_rl.evaluation.view import slug

SENTINELS = {
    "ink": "#a10001", "muted": "#a10002", "grid": "#a10003", "surface": "#a10004",
    "series-0": "#a20000", "series-1": "#a20001", "series-2": "#a20002", "series-3": "#a20003",
    "bad": "#a10005", "series-4": "#a20004", "series-5": "#a20005", "series-6": "#a20006", "series-7": "#a20007",
}  # fmt: skip
SERIES = 8
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
DASHES: tuple[object, ...] = (
    "-",
    (0, (5, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1, 2)),
    (0, (1, 1)),
    (0, (8, 3)),
    (0, (3, 3)),
    "-",
)
WIDTH_IN = 5.4
CHART_IN = 4.4  # of a chart that stands beside others
MOST_MARKERS = 40  # points of a line that still get one each
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "genrm_rl", "font.size": 10, "axes.spines.top": False, "axes.spines.right":
    False, "axes.edgecolor": SENTINELS["grid"], "axes.labelcolor": SENTINELS["muted"], "xtick.color":
    SENTINELS["muted"], "ytick.color": SENTINELS["muted"], "text.color": SENTINELS["ink"], "xtick.major.size": 0,
    "ytick.major.size": 0, "legend.frameon": False, "grid.color": SENTINELS["grid"], "grid.linewidth": 0.8,
    "figure.facecolor": "none", "axes.facecolor": "none", "axes.axisbelow": True, "lines.linewidth": 2.0,
    "lines.markersize": 6,
}  # fmt: skip


def line_figure(
    name: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    mark: float | None = None,
    flat: Mapping[str, float] | None = None,
    bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    nudge: float = 0.0,
) -> str:
    """Lines by their label, each with points (x, y); one without points is left out. ``mark``: a thin upright line;
    ``flat``: dotted levels by their label; ``bands``: intervals (x, low, high) of a line, drawn as upright strokes;
    ``nudge``: how far each line is drawn to the right of the one before, where they would hide each other."""
    drawn = {label: points for label, points in lines.items() if points}
    flat = flat or {}

    def draw(axes: Axes) -> None:
        for number, (label, points) in enumerate(drawn.items()):
            series = number % SERIES
            color = SENTINELS[f"series-{(series + 2) % SERIES}"]
            axes.plot(
                [x + nudge * number for x, _ in points],
                [y for _, y in points],
                color=color,
                linestyle=DASHES[series],
                marker=MARKERS[series] if len(points) <= MOST_MARKERS else None,
                markersize=4,
                label=label or None,
            )
            for x, low, high in (bands or {}).get(label, ()):
                axes.vlines(x + nudge * number, low, high, color=color, linewidth=1.2)
        for number, (label, level) in enumerate(flat.items()):
            axes.axhline(
                level, color=SENTINELS["muted"], linewidth=1.2, linestyle=DASHES[(number + 2) % SERIES], label=label
            )
        if mark is not None:
            axes.axvline(mark, color=SENTINELS["muted"], linewidth=0.8)
        xs = {x for points in drawn.values() for x, _ in points}
        if len(xs) == 1:
            axes.set_xlim(min(xs) - 0.5, min(xs) + 0.5)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        counted = all(x == int(x) for x in xs)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=counted, min_n_ticks=1))
        axes.grid(axis="y")
        if any(drawn) or flat:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)

    spoken = "; ".join(
        f"{label or y_label}: {points[0][1]:.3g} to {points[-1][1]:.3g}" for label, points in drawn.items()
    )
    return svg(name, spoken, 2.5 + 0.22 * (len(drawn) + len(flat)), draw, width_in=CHART_IN)


def bar_figure(
    name: str,
    x_label: str,
    bars: Mapping[str, float],
    *,
    bad: Container[str] = (),
    limit: float | None = None,
) -> str:
    """Lying bars by their label; those of ``bad`` in the colour of failure. ``limit``: a dotted upright line."""
    labels = list(bars)

    def draw(axes: Axes) -> None:
        colors = [SENTINELS["bad" if label in bad else "series-2"] for label in labels]
        axes.barh(range(len(labels)), list(bars.values()), color=colors, height=0.62)
        if limit is not None:
            axes.axvline(limit, color=SENTINELS["ink"], linewidth=1.2, linestyle=(0, (2, 2)))
        axes.set_yticks(range(len(labels)), labels, color=SENTINELS["ink"])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1.05 * max([*bars.values(), 2 * (limit or 0), 1e-9]))
        axes.set_xlabel(x_label)
        axes.grid(axis="x")

    spoken = "; ".join(f"{label}: {value:.3g}" for label, value in bars.items())
    return svg(name, f"{x_label}. {spoken}", 0.7 + 0.24 * len(labels), draw, width_in=CHART_IN)


def svg(
    name: str, description: str, height_in: float, draw: Callable[[Axes], None], *, width_in: float = WIDTH_IN
) -> str:
    """Draw one figure and return it as an ``<svg>`` element with a title for screen readers and ids of its own."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return _dress(buffer.getvalue(), slug(name), description)


def _dress(svg: str, name: str, description: str) -> str:
    """Keep the element only, make ids unique on the page, put CSS variables in place of the sentinel colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for variable, sentinel in SENTINELS.items():
        svg = svg.replace(sentinel, f"var(--{variable})")
    head = re.search(r'viewBox="[^"]*"', svg)
    if head is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    body = svg[svg.index(">") + 1 :]
    said = f'<desc id="{name}-desc">{_escape(description)}</desc>'
    return f'<svg {head.group(0)} role="img" aria-labelledby="{name}-desc" class="plot">{said}{body}'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
