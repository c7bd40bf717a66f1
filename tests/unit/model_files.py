"""A tiny model directory made of files only, and a model hub on the loopback address that serves one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

COMMIT = "c" * 40


def write_model(folder: Path, *, tied: bool = True, tokenizer: Path | None = None, **config: object) -> Path:
    """A directory that passes the inspection: 4 tokens, width 8, a ``tokenizer`` directory's files or a stub."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 4, "hidden_size": 8}
    settings |= {"num_attention_heads": 2, "max_position_embeddings": 1024, "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(settings | config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((tokenizer / name).read_text() if tokenizer else json.dumps({"stub": name}))
    tensors = {"model.embed_tokens.weight": np.ones((4, 8), np.float32)}
    if not tied:
        tensors["lm_head.weight"] = np.ones((4, 8), np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@dataclass
class LocalHub:
    """What the served repository holds, and which files were really asked for."""

    folder: Path
    address: str = ""
    downloaded: list[str] = field(default_factory=list)


@contextlib.contextmanager
def local_hub(folder: Path, repository: str) -> Iterator[LocalHub]:
    """Serve the files below ``folder`` as ``repository`` with the hub's own paths and headers."""
    hub = LocalHub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, repository))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: LocalHub, repository: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            files = sorted(str(file.relative_to(hub.folder)) for file in hub.folder.rglob("*") if file.is_file())
            if path.startswith(f"/api/models/{repository}/tree/"):
                return self._send(json.dumps([_entry(hub.folder, name) for name in files]).encode(), with_body)
            if path in (f"/api/models/{repository}", f"/api/models/{repository}/revision/main"):
                info = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
                return self._send(json.dumps(info).encode(), with_body)
            name = path.rpartition(f"/{repository}/resolve/")[2].partition("/")[2]
            if name in files:
                if with_body:
                    hub.downloaded.append(name)
                return self._send((hub.folder / name).read_bytes(), with_body)
            if path.startswith(f"/{repository}/"):
                return self._refuse("EntryNotFound")
            return self._refuse("RepoNotFound")

        def _send(self, body: bytes, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def _refuse(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


def _entry(folder: Path, name: str) -> dict[str, object]:
    body = (folder / name).read_bytes()
    return {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
