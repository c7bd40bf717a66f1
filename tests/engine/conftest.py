"""One Ray, one engine pool and a few tiny random models for all engine tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from genrm_rl.rollout.pool import EnginePool
from genrm_rl.runtime.session import ray_session
from tests.engine.engine_cases import MODEL, TinyModels, rollout_config, save_random_llama


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    """Four models with different random weights."""
    root = tmp_path_factory.mktemp("models")
    return TinyModels(
        save_random_llama(root / "base", 0, tied=True),
        save_random_llama(root / "other", 1, tied=True),
        save_random_llama(root / "untied", 2, tied=False),
        save_random_llama(root / "other_untied", 3, tied=False),
    )


@pytest.fixture(scope="session")
def ray_for_engines() -> Iterator[None]:
    """An own Ray, or the one that another fixture of this run has started."""
    with ray_session():
        yield


@pytest.fixture(scope="session")
def shared_pool(ray_for_engines: None, tiny_models: TinyModels) -> Iterator[EnginePool]:
    """The one engine of the session, a tied model in float32."""
    with EnginePool(tiny_models.base, rollout_config(), MODEL, device="cpu") as pool:
        yield pool


@pytest.fixture
def pool(shared_pool: EnginePool, tiny_models: TinyModels) -> EnginePool:
    """The shared engine, serving the base weights whatever an earlier test published."""
    if shared_pool.version != "base":
        shared_pool.publish("base", tiny_models.base)
    return shared_pool


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Poll a condition; the suite's own timeout is the only limit."""

    def wait(condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(0.1)

    return wait
