"""One served judge for all tests of this folder: real Serve, real vLLM, the shipped model."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import httpx
import pytest

from genrm_rl.config import JudgeConfig, ModelConfig, RolloutConfig
from genrm_rl.config.serving import ServeConfig, ServingConfig
from genrm_rl.models import ResolvedModel
from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.serving.app import address_of, running_service
from genrm_rl.serving.replicas.judge_apps import judge_to_serve


@pytest.fixture(scope="session")
def serve_config(tiny_model: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> ServeConfig:
    """The tiny judge with small limits, so that tests reach them."""
    folder = tmp_path_factory.mktemp("service")
    return ServeConfig(
        model=ModelConfig(name="tiny", max_context=320),
        judge=JudgeConfig(max_rationale=112),
        rollout=RolloutConfig(kv_cache_gib=0.5, max_in_flight=128),
        serving=ServingConfig(
            port=free_port(),
            max_pending=24,
            max_comparisons=16,
            max_votes=4,
            max_characters=5000,
            max_body_mib=0.25,
            deadline=600.0,  # a busy machine takes minutes to restart an engine
            read_deadline=3.0,
            cohort_size=3,
            cohort_wait=1.5,
            cache_path=str(folder / "verdicts.sqlite"),
            log_path=str(folder / "calls.jsonl"),
            policy_tokenizer=str(tiny_model.path),
        ),  # fmt: skip
    )


@pytest.fixture(scope="session")
def early(serve_config: ServeConfig) -> list[httpx.Response]:
    """What a client was told that came before the judge had started; filled by the fixture ``client``."""
    return []


@pytest.fixture(scope="session")
def client(ray_cluster: object, serve_config: ServeConfig, early: list[httpx.Response]) -> Iterator[httpx.Client]:
    """A client of the running service."""
    started = threading.Event()
    knocking = threading.Thread(target=knock, args=(address_of(serve_config.serving), started, early))
    knocking.start()
    try:
        with (
            running_service(serve_config, judge_to_serve(serve_config)) as address,
            httpx.Client(base_url=address, timeout=600) as http,
        ):
            started.set()
            knocking.join()
            yield http
    finally:
        started.set()


def knock(address: str, started: threading.Event, replies: list[httpx.Response]) -> None:
    """Ask for health every moment, from before the port is open until the service has started."""
    with httpx.Client(base_url=address) as http:
        while not started.wait(0.1):
            with contextlib.suppress(httpx.TransportError):
                replies.append(http.get("/healthz"))
