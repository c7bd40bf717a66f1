"""The labelling page in a real browser: ten people at once with keys alone, a phone in the dark, a kill meanwhile."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.annotators import PATIENCE_SECONDS, DeskProcess
from tests.browser import Browser, Page, in_browser

pytestmark = in_browser
ATTACK = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
TASK = "view && !busy && view.state === 'task' && view.task.id"


def comparisons(count: int) -> list[dict[str, str]]:
    return [{"id": f"c{n}", "prompt": f"q{n}", "answer_a": f"yes {n}", "answer_b": f"no {n}"} for n in range(count)]


def link(desk: DeskProcess, name: str) -> str:
    return f"{desk.address}/#token={desk.tokens()[name]}"


def key_for(page: Page, answer: str) -> str:
    """The key of the side on which an answer that begins so is shown."""
    return "a" if page.value("document.getElementById('text-a').textContent").startswith(answer) else "b"


@pytest.fixture
def browser(tmp_path: Path):
    with Browser(tmp_path) as found:
        yield found


def test_ten_people_label_with_keys_alone_until_the_desk_closes_by_itself(browser, tmp_path):
    desk = DeskProcess(tmp_path, comparisons(60), {"annotators": 10, "overlap": 0.5})
    process = desk.start()
    pages = {name: browser.open(link(desk, name)) for name in desk.tokens()}
    told: Counter[tuple[str, str]] = Counter()
    working = dict(pages)
    while working:
        for name, page in list(working.items()):
            state = page.until("view && !busy && view.state")
            if state == "task":
                told[name, page.value("view.task.prompt[0].content")] += 1
                page.press(key_for(page, "yes"))
            elif state == "done":
                del working[name]
            else:
                page.value("attempt('api/next')")  # instead of waiting for its next look
    words, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, words
    rows = desk.rows()
    assert Counter((each["annotator"], row["prompt"][0]["content"]) for row in rows for each in row["labels"]) == told
    assert len({name for name, _ in told}) == 10 and set(told.values()) == {1} and told.total() == 90
    assert {each["choice"] for row in rows for each in row["labels"]} == {"a"}, "keys choose the side that is seen"
    assert all(0 <= each["seconds"] < 3600 for row in rows for each in row["labels"])
    assert pages["p1"].until("document.getElementById('status').textContent") != ""


def test_keys_reason_undo_and_a_kill_meanwhile(browser, tmp_path):
    desk = DeskProcess(tmp_path, comparisons(3), {})
    process = desk.start()
    page = browser.open(link(desk, "p1"))
    first = page.until(TASK)
    assert page.value("document.activeElement.id") == "prompt-name", "a screen reader begins at the question"
    page.press("r")
    page.type("[A] b s t u")
    page.press("b")  # a letter of the reason, and no choice
    assert page.value("document.activeElement.value").startswith("[A] b s t u") and page.value(TASK) == first
    page.press("Escape")
    page.press("t")
    second = page.until(f"({TASK}) && view.task.id !== '{first}' && view.task.id")
    assert page.value("document.getElementById('reason').value") == ""
    page.press("u")
    page.until(f"({TASK}) === '{first}'")
    assert page.value("document.getElementById('reason').value").startswith("[A] b s t u")
    process.send_signal(signal.SIGKILL)
    process.wait()
    page.press("s")
    page.until("document.getElementById('status').className === 'error'")
    process = desk.start()
    assert page.until(f"({TASK}) && view.task.id !== '{first}' && view.task.id") == second, "it goes on by itself"
    assert page.value("document.getElementById('status').textContent") == ""
    page.press("a")
    page.until(f"({TASK}) && view.task.id !== '{second}'")
    page.press("b")
    page.until("view.state === 'done'")
    words, _ = process.communicate(timeout=PATIENCE_SECONDS)
    rows = desk.rows()
    assert process.returncode == 0 and sorted(row["label"] for row in rows).count("skip") == 1, words
    assert sum(len(row["labels"]) for row in rows) == 3


def test_on_a_phone_in_the_dark_nothing_is_cut_off_and_texts_stay_texts(browser, tmp_path):
    long = {"prompt": "x" * 400, "answer_a": ATTACK, "answer_b": "line\n" * 80}
    desk = DeskProcess(tmp_path, [long], {})
    process = desk.start()
    try:
        page = browser.open(link(desk, "p1"), width=390, height=844, dark=True)
        page.until(TASK)
        assert page.value("document.documentElement.scrollWidth") <= 390
        shown = page.value("['text-a', 'text-b'].map((id) => document.getElementById(id).textContent).join('')")
        assert ATTACK in shown and page.value("document.title") == "genrm_rl labelling"
        assert page.value("document.querySelectorAll('img, script').length") == 1, "its own script"
        colours = page.value("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        back, front = (sum(map(int, colour.strip("rgb()").split(",")[:3])) for colour in colours)
        assert back < 150 and front > 600
        heights = "[...document.querySelectorAll('nav button')].map((each) => each.getBoundingClientRect().height)"
        buttons = page.value(heights)
        assert len(buttons) == 5 and min(buttons) >= 44
        bottom = page.value("document.querySelector('nav').getBoundingClientRect().bottom")
        assert bottom <= 844, "choices are in sight however long an answer is"
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = Counter(node["role"]["value"] for node in nodes if node.get("name", {}).get("value"))
        assert roles["button"] == 5 and roles["article"] == 2 and roles["textbox"] == 1 and roles["progressbar"] == 1
    finally:
        process.kill()


def test_a_link_that_is_not_valid_says_so(browser, tmp_path):
    desk = DeskProcess(tmp_path, comparisons(1), {})
    process = desk.start()
    try:
        page = browser.open(f"{desk.address}/#token=nothing")
        assert "not valid" in page.until("document.getElementById('status').textContent")
        assert page.value("document.getElementById('task').hidden")
    finally:
        process.kill()
