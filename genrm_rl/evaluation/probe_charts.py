"""How often null answers win, as one drawing for every page that shows a judge's probes."""

from __future__ import annotations

from collections.abc import Mapping

from genrm_rl.evaluation.alarms import over_limit
from genrm_rl.evaluation.charts import Bar, Chart, bar_chart
from genrm_rl.evaluation.glossary import NULL_ANSWERS
from genrm_rl.evaluation.view import words


def probe_chart(name: str, title: str, probes: Mapping[str, tuple[int, int]], limit: float) -> Chart | None:
    """Wins in percent by kind, from (wins, judged); those over the limit in red. Kinds that were never judged are left
    out."""
    shown = {kind: found for kind, found in probes.items() if found[1]}
    over = set(over_limit(shown, limit))
    bars = {
        words(kind): Bar(100 * wins / judged, f"{wins} of {judged}", kind in over, NULL_ANSWERS.get(kind, ""))
        for kind, (wins, judged) in shown.items()
    }
    note = (
        "Texts that deserve nothing, shown to the judge beside a real answer, greedily and in both orders; orders that "
        f"contradict each other are no win. Dotted: the limit of {100 * limit:g} %; red: over it. What each of them is "
        "stands under Numbers."
    )
    return bar_chart(name, title, note, ("null answer", "wins of the null answer, %"), bars, limit=100 * limit)
