"""What the service says about itself: Prometheus metrics and one JSON line per call, without the texts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx

from genrm_rl.config.serving import ServeConfig

SECRET = "hgfedcab"
PAIR = {"prompt": f"sort {SECRET}", "response_a": "abcdefgh", "response_b": f"the answer is {SECRET}"}


def lines_of(config: ServeConfig, request_id: str) -> list[dict]:
    """Log lines of one call."""
    rows = [json.loads(line) for line in Path(config.serving.log_path).read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row.get("request_id") == request_id]


def test_each_call_is_one_json_line_without_its_texts(client: httpx.Client, serve_config: ServeConfig) -> None:
    calls = {
        "one": ("/v1/judgments", {"comparisons": [PAIR, PAIR | {"response_b": "b"}]}, 200, 2),
        "two": ("/v1/judgments", {"comparisons": []}, 422, 0),
        "three": ("/v1/rewards", {"groups": [{"prompt": PAIR["prompt"], "responses": ["a", "b", "c"]}]}, 200, 3),
        "four": ("/nowhere/" + SECRET, {}, 404, 0),
    }
    for name, (path, body, status, _) in calls.items():
        assert client.post(path, json=body, headers={"x-request-id": name}).status_code == status
    for name, (path, _, status, comparisons) in calls.items():
        (line,) = lines_of(serve_config, name)
        assert set(line) == {
            *("time", "level", "message", "endpoint", "method", "status", "seconds", "comparisons"),
            *("judge_version", "request_id"),
        }
        assert (line["status"], line["comparisons"]) == (status, comparisons)
        assert line["endpoint"] == ("unmatched" if status == 404 else path)
        assert line["judge_version"] == ("base" if comparisons else None), "who gave the judgments"
        assert line["seconds"] > 0
    assert SECRET not in Path(serve_config.serving.log_path).read_text(encoding="utf-8")


def test_metrics_are_on_the_services_own_port(client: httpx.Client) -> None:
    before = client.get("/metrics").text
    asked = client.post("/v1/judgments", json={"comparisons": [PAIR | {"response_b": "hg"}]})
    assert asked.status_code == 200
    client.post("/v1/rewards", json={"groups": [{"prompt": "sort ba", "responses": ["ab"]}]})
    client.request("MADEUP", "/v1/rewards")
    text = client.get("/metrics").text
    for name in (
        'requests_total{endpoint="/v1/judgments",method="POST",status="200"}',
        'request_seconds_count{endpoint="/v1/rewards"}',
        "comparisons_total",
        'masked_rewards_total{mask="alone"}',
        'tokens_total{kind="generated"}',
    ):
        assert value_of(f"genrm_rl_{name}", text) > value_of(f"genrm_rl_{name}", before), name
    assert value_of("genrm_rl_pending_comparisons", text) == 0 and "genrm_rl_ties_total" in text
    assert re.search(r'genrm_rl_verdicts_total{verdict="\w+"} ', text)
    assert SECRET not in text and "MADEUP" not in text


def value_of(sample: str, text: str) -> float:
    """Of one line of Prometheus's text format, 0 before it is there."""
    (*_, line) = ["0", *(line for line in text.splitlines() if line.startswith(f"{sample} "))]
    return float(line.split()[-1])
