"""What tests of several folders share: one Ray and the shipped model. Engines belong to tests/engine/conftest.py."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from genrm_rl.config import ModelConfig
from genrm_rl.models import ResolvedModel, resolve_model
from genrm_rl.runtime.imports import without_collections
from genrm_rl.runtime.session import RaySession, ray_session

if TYPE_CHECKING:
    from tests.s3 import S3Server

# Tests never ask a hub: what they need is shipped or generated. Set before anything imports the hub library.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Actors import the tests' own environment (`countdown:SPEC`), as they would a user's.
_found = os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "agents"), *([_found] if _found else [])])

# No test asserts a duration, and a busy machine must not fail one: hypothesis' own time limit is off.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

# Two processes share the tests (`make test`). These folders stay whole, in one of them, since their tests share what is
# dear to make: engines, a run, a service. Other files are handed out one by one.
WHOLE_FOLDERS = {"engine", "loop", "serving"}
FOLDER_MARKS = {"engine": "engine", "learners": "learner", "loop": "loop", "drills": "drill", "serving": "serving"}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collecting imports everything that the tests need."""
    with without_collections():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test carries the mark of its folder, so `-m "not drill"` needs no mark in each file."""
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        if folder in FOLDER_MARKS:
            item.add_marker(FOLDER_MARKS[folder])


class ByFixtures(LoadScopeScheduling):
    """Hands out files, or whole folders whose tests share what is dear."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = Path(file).parent.name
        return folder if folder in WHOLE_FOLDERS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFixtures:
    """With `-n`: how tests are spread over processes."""
    return ByFixtures(config, log)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RaySession]:
    """One Ray for the whole run, started by the first test that asks for it."""
    with ray_session() as session:
        yield session


@pytest.fixture(scope="session")
def tiny_model() -> ResolvedModel:
    """The shipped model."""
    return resolve_model(ModelConfig(name="tiny"))


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One store for all tests of a process: its clients remember the address that they began with."""
    from tests.s3 import S3Server

    running = S3Server(tmp_path_factory.mktemp("scratch"))
    yield running
    running.stop()
