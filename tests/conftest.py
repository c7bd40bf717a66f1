"""What tests of several folders share: one Ray and the shipped model. Engines belong to tests/engine/conftest.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from genrm_rl.config import ModelConfig
from genrm_rl.models import ResolvedModel, resolve_model
from genrm_rl.runtime.session import RaySession, ray_session

# Tests never ask a hub: what they need is shipped or generated. Set before anything imports the hub library.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# No test asserts a duration, and a busy machine must not fail one: hypothesis' own time limit is off.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

# Two processes share the tests (`make test`). These folders stay whole, in one of them, since their tests share engines
# or a service that are dear to start; other files are handed out one by one.
WHOLE_FOLDERS = {"engine", "loop", "serving"}
FOLDER_MARKS = {"engine": "engine", "learners": "learner", "loop": "loop", "drills": "drill", "serving": "serving"}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test carries the mark of its folder, so `-m "not drill"` needs no mark in each file, and stays with those that
    share its fixtures."""
    root = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        if folder in FOLDER_MARKS:
            item.add_marker(FOLDER_MARKS[folder])
        item.add_marker(pytest.mark.xdist_group(folder if folder in WHOLE_FOLDERS else str(item.path)))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RaySession]:
    """One Ray for the whole run, started by the first test that asks for it."""
    with ray_session() as session:
        yield session


@pytest.fixture(scope="session")
def tiny_model() -> ResolvedModel:
    """The shipped model."""
    return resolve_model(ModelConfig(name="tiny"))
