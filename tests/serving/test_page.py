"""The web page in a real browser: it judges, opens a judgment by its id, and shows texts as texts."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.browser import CHROMIUM, FLAGS, in_browser

DUMP = ("--virtual-time-budget=60000", "--dump-dom")


def dom(client: httpx.Client, folder: Path, fragment: str = "", *flags: str) -> str:
    """The page's document after its scripts have run."""
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *FLAGS, *DUMP, *flags, profile, f"{client.base_url}/#{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def result(document: str) -> str:
    """Words of the judgment that the page shows."""
    shown = re.search(r'<section id="result"[^>]*>(.*)</section>', document, re.DOTALL)
    assert shown is not None and 'id="result" aria-label="judgment" hidden' not in document, document
    return html.unescape(re.sub(r"<[^>]+>", " ", shown.group(1)))


@in_browser
def test_two_pasted_answers_are_judged(client: httpx.Client, tmp_path: Path) -> None:
    document = dom(client, tmp_path, "prompt=sort+cab&a=abc&b=the+answer+is+cab&votes=3&stop=0&judge=1")
    shown = result(document)
    assert re.search(r"P\(A wins\) = (0\.\d{4}|1\.0000|none)", shown)
    assert {"A shown first", "B shown first", "Rationales"} <= set(
        re.findall(r"A shown first|B shown first|Rationales", shown)
    )
    assert len(re.findall(r"\d\. [AB] first: ", shown)) in (4, 6) and "sort cab" in shown
    assert '<span id="version">base</span>' in document


@in_browser
def test_a_judgment_is_opened_by_its_id_and_its_texts_stay_text(client: httpx.Client, tmp_path: Path) -> None:
    attack = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
    pair = {"prompt": "sort ba", "response_a": attack, "response_b": "ab"}
    (judgment,) = client.post("/v1/judgments", json={"comparisons": [pair], "greedy": True}).json()["judgments"]
    document = dom(client, tmp_path, f"id={judgment['id']}")
    assert attack in result(document)
    assert "<title>genrm_rl judge</title>" in document and "<img" not in document
    p_a = "none" if judgment["p_a"] is None else f"{judgment['p_a']:.4f}"
    assert f"P(A wins) = {p_a}" in result(document)


@in_browser
@pytest.mark.parametrize(
    ("fragment", "says"),
    [
        ("id=nothing", "404: no judgment has this id"),
        (f"prompt={quote('x ' * 400)}&judge=1", "422: comparison 0: it needs"),
    ],
)
def test_what_goes_wrong_is_said(client: httpx.Client, tmp_path: Path, fragment: str, says: str) -> None:
    document = dom(client, tmp_path, fragment)
    assert re.search(r'id="status"[^>]*class="error"[^>]*>([^<]*)', document).group(1).startswith(says)


def test_the_page_is_made_for_phones_and_the_dark(client: httpx.Client) -> None:
    page = client.get("/").text
    assert 'name="viewport" content="width=device-width' in page and 'content="light dark"' in page
    assert not re.search(r"[{;]\s*(min-)?width:\s*\d+(px|rem)", page), "no width that a narrow window can't have"


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    reply = client.get("/")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/html")
    assert not re.search(r"(src|href)=|https?://|@import|url\(", reply.text)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "innerHTML" not in reply.text


def test_any_judgment_is_looked_up_by_its_id(client: httpx.Client) -> None:
    group = {"prompt": [{"role": "user", "content": "sort dcb"}], "responses": ["bcd", "dcb"]}
    reply = client.post("/v1/rewards", json={"groups": [group]}).json()
    (identifier,) = reply["groups"][0][0]["judgments"]
    stored = client.get(f"/v1/judgments/{identifier}").json()
    assert stored["judge_version"] == "base" and stored["prompt"] == group["prompt"]
    assert {stored["response_a"], stored["response_b"]} == set(group["responses"])
    assert stored["judgment"] | {"rationales": None} == reply["judgments"][0]
    assert len(stored["judgment"]["rationales"]) == 2
    (newest,) = client.get("/v1/judgments?limit=1").json()["judgments"]
    assert (newest["id"], newest["question"], newest["judge_version"]) == (identifier, "sort dcb", "base")
    missing = client.get("/v1/judgments/0123")
    assert missing.status_code == 404 and "the last 1000" in missing.json()["detail"]
