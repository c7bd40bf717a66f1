"""The page as a browser would parse it: safe, self-contained, accessible, complete."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from genrm_rl.evaluation.headline import complete
from genrm_rl.evaluation.html import render_html, stage_groups
from genrm_rl.evaluation.schema import JudgeInfo, Report, RunInfo, StageRow, TestSetInfo
from genrm_rl.evaluation.svg import SENTINELS
from tests.unit.report_example import small_report, trace

HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>{{ 7 * 7 }}&lt;"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.descriptions: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open[-1:] == ["desc"]:
            self.descriptions.append(data)
        if "script" not in self.open[-1:] and "style" not in self.open[-1:]:
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return render_html(complete(small_report(HOSTILE)))


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_text_of_traces_stays_text(page, html):
    assert len(page.all("script")) == 1  # ours
    assert page.all("img") == []
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    text = "".join(page.text)
    assert f"because{HOSTILE}" in text
    assert f"genrm-rl bootstrap{HOSTILE}" in text
    assert "49&lt;" not in text  # template syntax in data is not run


def test_nothing_is_loaded_from_elsewhere(page, html):
    for _, attrs in page.tags:
        assert "src" not in attrs
        for name in ("href", "xlink:href", "action"):
            assert (attrs.get(name) or "#").startswith("#")
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "@import" not in html
    assert "url(http" not in html


def test_every_table_and_figure_is_labelled(page):
    headers = page.all("th")
    assert headers
    assert all("scope" in attrs for attrs in headers)
    figures = [attrs for attrs in page.all("svg")]
    assert len(figures) >= 5  # two forests, learning curve, calibration, majority
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] in ids for attrs in figures)
    assert page.descriptions
    assert all(len(said) > 20 for said in page.descriptions)


def test_figures_follow_the_colour_scheme(html):
    assert not [sentinel for sentinel in SENTINELS.values() if sentinel in html]
    figures = html[html.index('class="plot"') :]
    assert "#000000" not in figures
    assert "#ffffff" not in figures
    assert "prefers-color-scheme: dark" in html


def test_traces_can_be_read_without_javascript(page):
    bar = next(attrs for _, attrs in page.tags if attrs.get("id") == "filters")
    assert "hidden" in bar
    traces = [attrs for attrs in page.all("details") if attrs.get("data-judge")]
    assert [attrs["data-outcome"] for attrs in traces] == ["right", "wrong", "non_verdict"]
    assert not any("hidden" in attrs for attrs in traces)


def test_a_fit_that_was_measured_shows_its_losses_and_whose_weights_were_taken(html):
    assert "the weights of step 20 are the judge" in html
    assert "pairs: 0.66 to 0.6" in html


def test_bad_news_is_on_the_page(page):
    text = " ".join(page.text)
    assert "What did not work" in text
    assert "not promoted" in text
    assert "STaR-DPO is worse than the untrained judge in 1 of 3 comparisons" in text
    assert "gives no verdict" in text


def test_an_undefined_number_is_a_dash_and_never_a_zero(page):
    text = "".join(page.text)
    assert "nan" not in text.lower().split()
    assert "None" not in text


def test_the_smallest_report_can_be_shown():
    report = Report(
        run=RunInfo(id="r", created="now"), baseline="llm_judge", judges=(JudgeInfo(name="llm_judge"),),
        test_sets=(TestSetInfo(name="id", pairs=0),), results=(),
    )  # fmt: skip
    assert "Nothing was measured" in render_html(complete(report))


def test_many_and_long_traces_leave_the_page_small():
    traces = tuple(
        trace(trace_id=f"t{i}", judge=["llm_judge", "star_dpo"][i % 2], text="x" * 9000) for i in range(1000)
    )
    html = render_html(complete(small_report(traces=traces)))
    assert html.count('data-judge="star_dpo"') == 200
    assert "400 of the 1,000" in html
    assert "3,000 more characters in report.json" in html


def test_stages_are_added_up_by_method_and_phase():
    stages = [
        StageRow(name="methods/star_dpo/round1/fit", method="star_dpo", seconds=2.0, trained_tokens=5),
        StageRow(name="methods/star_dpo/round2/fit", method="star_dpo", seconds=4.0, trained_tokens=6),
        StageRow(name="evaluation/star_dpo/id/sampled/traces", method="star_dpo", seconds=3.0, completion_tokens=7),
    ]
    fit, evaluation = stage_groups(stages)
    assert (fit.phase, fit.stages, fit.seconds, fit.trained_tokens, fit.completion_tokens) == ("fit", 2, 6.0, 11, None)
    assert (evaluation.phase, evaluation.share) == ("evaluation", 0.5)
