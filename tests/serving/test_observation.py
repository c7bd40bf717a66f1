"""What the service says about itself: Prometheus metrics and one JSON line per call, without the texts."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx
import ray

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


def test_metrics_are_on_rays_port(client: httpx.Client) -> None:
    asked = client.post("/v1/judgments", json={"comparisons": [PAIR]}, headers={"x-request-id": "m"})
    assert asked.status_code == 200
    client.post("/v1/rewards", json={"groups": [{"prompt": "sort ba", "responses": ["ab"]}]})
    wanted = {
        'requests.*endpoint="/v1/judgments".*status="200"',
        "request_seconds_bucket.*endpoint",
        "pending_comparisons",
        "comparisons_total",
        "verdicts.*verdict=",
        "votes.*verdict=",
        'masked_rewards.*mask="alone"',
        'tokens.*kind="generated"',
    }
    (node,) = (node for node in ray.nodes() if node["Alive"])
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    missing = set(wanted)
    while missing:  # Ray's processes report every few seconds; pytest's own timeout ends a wait in vain
        text = httpx.get(address).text
        missing = {name for name in wanted if not re.search(f"^ray_genrm_rl_{name}", text, re.MULTILINE)}
        time.sleep(0.5 if missing else 0)
    assert SECRET not in text
