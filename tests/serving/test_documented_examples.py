"""The curl examples of the documentation against the service."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

DOCS = Path(__file__).parents[2] / "docs"
CURL = re.compile(r"curl http://127\.0\.0\.1:8000(\S+)(?: -H '[^']*' -d '(.*?)')?", re.DOTALL)
PAGES = (
    "serving",
    "judges",
    *(f"trainers/{name}" for name in ("openrlhf", "slime", "nemo_gym", "trl", "verl", "openai")),
)


@pytest.mark.parametrize("page", PAGES)
def test_every_example_of_a_page_is_answered(client: httpx.Client, page: str) -> None:
    examples = CURL.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))
    assert examples, "the page has no example"

    def call(example: tuple[str, str]) -> httpx.Response:
        path, body = example
        return client.post(path, json=json.loads(body)) if body else client.get(path)

    with ThreadPoolExecutor(len(examples)) as threads:
        replies = list(threads.map(call, examples))
    assert [reply.status_code for reply in replies] == [200] * len(examples), [reply.text for reply in replies]


def test_every_page_of_a_trainer_is_linked_and_has_an_example() -> None:
    pages = sorted(path.stem for path in (DOCS / "trainers").glob("*.md"))
    assert pages == sorted(page.removeprefix("trainers/") for page in PAGES[2:])
    serving = (DOCS / "serving.md").read_text(encoding="utf-8")
    assert all(f"(trainers/{page}.md)" in serving for page in pages)
