"""The reader's pages in a real browser, opened from the disk: filters, search, keys, links, a phone in the dark."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from genrm_rl.reading.command import read_run
from tests.browser import Browser, Page, in_browser
from tests.unit.reader_runs import ATTACK, aligned_run, evaluated_run, trained_run

SAYS = ["RR", "WW", "RW", "R?"] + ["RR", "WW"] * 110  # 224 judgments: two pages
LISTED = "document.getElementById('status').textContent.includes('found')"
SHOWN = "document.getElementById('status')?.textContent"
HERE = "document.activeElement?.id"
AT = "document.body?.dataset.page"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader of a run with two runs inside it, as a closed loop has them."""
    run = tmp_path_factory.mktemp("reader") / "run"
    evaluated_run(run, SAYS)
    aligned_run(run / "turn1/align")
    trained_run(run / "turn1/judge")
    return read_run(run, Console(quiet=True)).parent


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def found(browser: Browser, reader: Path, query: str) -> Page:
    page = browser.open(f"{(reader / 'index.html').as_uri()}?{query}")
    page.until(LISTED)
    return page


def count(page: Page) -> int:
    return int(page.value("document.getElementById('status').textContent").split()[0])


@in_browser
@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("show=wrong", 1 + 110 + 4 + 1),
        ("show=contradictory", 1),
        ("show=none", 1),
        ("show=fooled", 4),
        ("show=masked", 1),
        ("part=0&show=right", 111),
        ("q=good+answer+12+", 1),
        ("q=FOOL", 4),
        ("q=fooled+answer+nowhere", 0),
        ("q=four+two&show=wrong", 1),
        ("show=traces", 2),
        ("show=traces-wrong", 1),
        ("show=traces-kept", 1),
        ("show=traces-none&q=lesson", 1),
        ("show=traces-balanced_out", 0),
        ("show=judgments&q=lesson", 0),
    ],
)
def test_filters_and_words_find_what_they_should(browser, reader, query, number):
    page = found(browser, reader, query)
    assert count(page) == number == page.value("document.querySelectorAll('#list li').length") + max(0, number - 50)


@in_browser
def test_keys_go_through_what_was_found_over_pages_and_a_link_opens_the_same_judgment(browser, reader):
    page = found(browser, reader, "show=wrong&part=0")
    for _ in range(2):
        page.press("j")
    link = page.value("document.activeElement.href")
    page = browser.open(link)
    assert page.until(HERE) == urlsplit(link).fragment
    page.until(SHOWN)
    page.until("document.getElementById('status').textContent.startsWith('2 of 111')")
    page.press("j")
    page.until("document.getElementById('status').textContent.startsWith('3 of 111')")
    page.value("location.hash = [...document.querySelectorAll('article:not([hidden])')].at(-1).id")
    page.until("document.getElementById('status').textContent.startsWith('99 of 111')")
    page.press("j")
    page.until(f"{AT} === '1' && {HERE} && {SHOWN}")
    assert page.value("document.activeElement.querySelector('h2').textContent").endswith("wrong")
    page.until("document.getElementById('status').textContent.startsWith('100 of 111')")
    page.press("k")
    page.until(f"{AT} === '0'")
    identifier = page.until(HERE)
    text = page.value(f"document.getElementById('{identifier}').textContent")
    for address in (reader / "index.html", reader / "pages/00001.html"):
        other = browser.open(f"{address.as_uri()}#{identifier}")
        other.until(f"{AT} === '0' && {HERE} === '{identifier}'")
        assert other.value(f"document.getElementById('{identifier}').textContent") == text


@in_browser
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False), (1280, True)])
def test_pages_fit_are_legible_load_nothing_foreign_and_texts_stay_texts(browser, reader, width, dark):
    last = sorted((reader / "pages").iterdir())[-1]
    for address in ("index.html?show=wrong", "pages/00000.html", f"pages/{last.name}"):
        page = browser.open(f"{reader.as_uri()}/{address}", width=width, height=844, dark=dark, watched=True)
        if address.startswith("index"):
            page.until(LISTED)
        assert page.value("document.documentElement.scrollWidth") <= width, address
        assert page.faint() == [] and page.troubles(reader.as_uri()) == []
        assert (
            page.value("document.title") != "broken in" and page.value("document.querySelectorAll('img').length") == 0
        )
    page = browser.open((reader / "index.html").as_uri() + "?q=onerror")
    page.until("document.querySelectorAll('#list li').length > 0")
    assert ATTACK[:40] in page.value("document.getElementById('list').textContent")
    page = browser.open(page.value("document.querySelector('#list a').href"))
    shown = page.until("[...document.querySelectorAll('article:target pre')].map((each) => each.textContent)")
    assert [f"question {ATTACK}", f"because {ATTACK} in ab"] == [shown[0], shown[3]]
    assert {f"good {ATTACK}", "\npoor"} == set(shown[1:3]), "line by line as it was written"


@in_browser
def test_a_screen_reader_hears_of_search_filters_judgments_and_what_was_found(browser, reader):
    page = found(browser, reader, "show=wrong")
    named = {(n["role"]["value"], n["name"]["value"]) for n in tree(page) if n.get("name", {}).get("value")}
    assert {("search", "Find judgments"), ("searchbox", "Search"), ("combobox", "Show")} <= named
    assert page.value("document.getElementById('status').getAttribute('role')") == "status"
    page = browser.open((reader / "pages/00001.html").as_uri())
    roles = [node["role"]["value"] for node in tree(page)]
    assert (roles.count("article"), roles.count("meter"), roles.count("navigation")) == (32, 29, 2)


def tree(page: Page) -> list[dict]:
    return page.call("Accessibility.getFullAXTree")["nodes"]


class Read(HTMLParser):
    """Ids, links and headings of a page, as one sees them whose browser runs no scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.hidden: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id", ""))
        if tag == "a":
            self.links.append(found["href"])
        if "hidden" in found:
            self.hidden.append(tag)


def test_without_scripts_every_page_is_reached_and_every_link_leads_somewhere(reader):
    pages = {path.name: Read(path) for path in (reader / "pages").iterdir()}
    first = Read(reader / "index.html")
    assert "article" not in [tag for page in pages.values() for tag in page.hidden]
    for where, links in [("", first.links), *((name, page.links) for name, page in pages.items())]:
        for link in links:
            name, _, anchor = link.partition("#")
            if name == "../index.html":
                continue
            target = pages[name.removeprefix("pages/") or where]
            assert not anchor or anchor in target.ids, f"{where}: {link}"
    assert len(pages) == 2 and {"00001.html"} <= set(pages["00000.html"].links)
    assert first.links[0].startswith("pages/00000.html#") and len(first.links) == 4
