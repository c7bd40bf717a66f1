"""The face of the service towards whoever calls it: early, slow, oversized, from elsewhere."""

from __future__ import annotations

import json
import re
import socket

import httpx
import pytest

from genrm_rl.config.serving import ServeConfig

PAIR = {"prompt": "sort ba", "response_a": "ab", "response_b": "ba"}
GROUP = {"prompt": "sort ba", "responses": ["ab"]}
HEAD = "POST /v1/judgments HTTP/1.1\r\nHost: localhost"


def test_who_comes_early_is_told_to_wait(client: httpx.Client, early: list[httpx.Response]) -> None:
    waiting = [reply for reply in early if reply.status_code != 200]
    assert waiting and {reply.status_code for reply in waiting} == {503}
    assert all(int(reply.headers["retry-after"]) >= 1 and "ask again" in reply.json()["detail"] for reply in waiting)


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/rewards", {"groups": [GROUP | {"responses": [str(n) for n in range(1000)]}]}, "needs 499500 comparisons"),
        ("/v1/rewards", {"groups": [GROUP | {"responses": [str(n) for n in range(20_000)]}]}, "values, objects"),
        ("/v1/rewards", {"groups": [GROUP] * 17}, "17 groups"),
        ("/v1/rewards", {"groups": [GROUP | {"responses": ["ab"] * 300}]}, "300 responses"),
        ("/v1/judgments", {"comparisons": [PAIR] * 300}, "needs 300 comparisons"),
        ("/v1/judgments", {"comparisons": [PAIR] * 4000}, "values, objects and lists"),
        ("/v1/judgments", {"comparisons": [PAIR] * 50_000}, "larger than the 0.25 MiB"),
        ("/v1/judgments", "[" * 1500, "parsing the body"),
    ],
)
def test_sizes_are_counted_before_anything_is_built(
    client: httpx.Client, serve_config: ServeConfig, path: str, body: object, says: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    reply = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert (400 <= reply.status_code < 500, says in reply.json()["detail"]) == (True, True), reply.text
    assert client.get("/healthz").json()["pending_comparisons"] == 0


def test_a_missing_content_type_is_named(client: httpx.Client) -> None:
    reply = client.post("/v1/judgments", content=json.dumps({"comparisons": [PAIR]}))
    assert reply.status_code == 415 and "Content-Type: application/json" in reply.json()["detail"]


@pytest.mark.parametrize(
    "sent",
    [
        f"{HEAD}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{",
        f"{HEAD}\r\nContent-Ty",
        "",
    ],
    ids=["body", "headers", "nothing"],
)
def test_a_call_that_never_comes_whole_is_not_waited_for(
    client: httpx.Client, serve_config: ServeConfig, sent: str
) -> None:
    serving = serve_config.serving
    with socket.create_connection((serving.host, serving.port)) as slow:
        slow.sendall(sent.encode())
        answer = b"".join(iter(lambda: slow.recv(65_536), b""))  # ends when the service closes the connection
    assert b"serving.read_deadline" in answer if sent.endswith("{") else answer == b""


def test_pages_of_other_names_can_not_call(client: httpx.Client) -> None:
    reply = client.post("/v1/judgments", json={"comparisons": [PAIR]}, headers={"Host": "evil.example"})
    assert reply.status_code == 421 and "not called evil.example" in reply.json()["detail"]


def test_the_schema_is_shown_without_a_network(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"] and "http" not in page.text
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert client.get(f"/{name}").status_code == 200, name
    assert client.get("/docs/../ingress.py").status_code == 404
    schema = client.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert "Judge base: probe gate not measured" in schema["info"]["description"]


def test_where_the_judge_lies_is_nobodys_business(client: httpx.Client, tiny_model) -> None:
    for turns in ([{"role": "system", "content": "x"}], [{"role": "assistant", "content": "x"}] * 40):
        for path, body in (
            ("/v1/judgments", {"comparisons": [PAIR | {"prompt": turns}]}),
            ("/v1/chat/completions", {"messages": turns}),
        ):
            reply = client.post(path, json=body)
            assert str(tiny_model.path) not in reply.text and len(reply.text) < 1500
