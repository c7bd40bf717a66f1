"""Pages of every kind in a real browser, on a phone, on a screen and in the dark: nothing sticks out, nothing fails,
nothing is fetched, everything can be read."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.config.watching import AlarmConfig, WatchConfig
from genrm_rl.pages.compare import compare_runs
from genrm_rl.pages.live import Watcher
from genrm_rl.pages.runs import page_of
from genrm_rl.pages.server import watch_app
from genrm_rl.serving.listening import address_of, listener, quiet_server
from tests.browser import Browser, in_browser
from tests.unit import run_examples

pytestmark = in_browser
LEAST_CONTRAST = 4.5  # WCAG 2.1 AA
OVERFLOW = """(width => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - width)(%d)"""
# Texts whose colour is too near to what is behind them; what is hidden or clipped for screen readers is left out.
PALE = """(() => {
  document.querySelectorAll('details').forEach(each => { each.open = true; });
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const lum = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) { return c; }
    }
    return [255, 255, 255];
  };
  const pale = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, element = node.parentElement;
    if (!node.textContent.trim() || element.closest('script, style, desc, .sr, [hidden], noscript')) { continue; }
    const style = getComputedStyle(element);
    const ink = rgb(element.closest('svg') ? style.fill : style.color), paper = behind(element);
    const [high, low] = [lum(ink), lum(paper)].sort((a, b) => b - a);
    let seen = 1;
    for (let e = element; e; e = e.parentElement) { seen *= Number(getComputedStyle(e).opacity); }
    const contrast = (high + .05) / (low + .05);
    if (contrast < %s || seen < 1) { pale.push(`${contrast.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`); }
  }
  return pale;
})()""".replace("%s", str(LEAST_CONTRAST))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    found = {}
    for make in (
        run_examples.alignment,
        run_examples.agent,
        run_examples.bootstrap,
        run_examples.unfinished_bootstrap,
        run_examples.evaluated,
        run_examples.best_of,
        run_examples.loop,
    ):
        path = root / f"{make.__name__}.html"
        path.write_text(page_of(make(root / make.__name__), AlarmConfig()).html, encoding="utf-8")
        found[make.__name__] = path
    columns = [str(root / "alignment"), str(root / "loop/turn1")]
    found["compare"] = compare_runs(columns, str(root), root / "compare.html", Console(quiet=True))
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_every_page_fits_is_quiet_and_can_be_read(pages, browser, width, dark):
    for name, path in pages.items():
        page = browser.open(path.as_uri(), width=width, dark=dark, watched=True)
        assert page.value(OVERFLOW % width) <= 0, name
        assert page.value(PALE) == [], name
        assert page.troubles(path.as_uri()) == [], name


def test_the_page_of_a_run_that_goes_on_refreshes_itself_and_gives_the_alarm(browser, tmp_path):
    run = run_examples.loop(tmp_path / "live")
    (run / "turn1/align/report.html").write_text("finished")
    watcher = Watcher(str(run), str(tmp_path), WatchConfig(page={"port": 0, "every": 0.2}))
    server = quiet_server(watch_app(watcher, "secret"))
    with listener("127.0.0.1", 0, "") as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            address = address_of("127.0.0.1", bound)
            page = browser.open(f"{address}/#token=secret", width=390, watched=True)
            page.until("!!document.querySelector('#page #judge-charts')")
            assert page.value("location.href") == f"{address}/", "the token does not stay in the address"
            assert "Nobody drives the run" in page.value("document.getElementById('alarms').textContent")
            page.value("document.querySelector('#runs a[href*=align]').click()")
            page.until("location.pathname === '/turn1/align/report.html' && !!document.querySelector('#page #curves')")
            page.value("document.querySelector('#page #run details').open = true")
            run_examples.add_step(run / "turn1/align", 3, **{"train/kl_reference": 7.0})
            page.until("document.getElementById('alarms').textContent.includes('far from its start')")
            assert page.value("document.title").startswith("(")
            assert page.value("document.querySelector('#page #run details').open"), "what was opened stays open"
            assert page.value(OVERFLOW % 390) <= 0
            assert page.troubles(address) == []
        finally:
            server.should_exit = True
            thread.join()


def test_charts_have_titles_axes_and_a_table_behind_them(pages, browser):
    page = browser.open(pages["alignment"].as_uri())
    charts = page.value(
        """[...document.querySelectorAll('figure.chart')].map(f => [
          f.querySelector('h3').textContent, f.querySelectorAll('svg text').length > 3,
          document.getElementById(f.querySelector('svg').getAttribute('aria-labelledby')).textContent.length > 10,
          f.querySelectorAll('table tbody tr').length > 0, f.querySelector('figcaption').textContent.length > 60])"""
    )
    assert {"Reward", "Distance from the starting policy (KL)", "Answers without a reward"} <= {
        row[0] for row in charts
    }
    assert all(all(row[1:]) for row in charts), charts
