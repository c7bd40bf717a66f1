"""Small bootstrap runs on the tiny model, shared by the tests of this folder: one for every test run, and one of the
methods that repeat its paths, for the drills."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.bootstrap.loop import run_bootstrap
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config

METHODS = "[llm_judge, bradley_terry, genrm_direct, star_dpo, verdict_rl]"
OTHER_METHODS = "[pairrm, genrm_points, star_rationalizer_dpo, self_distilled]"
YAML = """
model: {name: tiny, max_context: 320, dtype: float32}
judge: {template: compact, max_rationale: 96}
data:
  train: [{world: train, limit: 40}]
  gate: [{world: gate, limit: 16}]
  test: [{world: id, limit: 20}, {world: family_neutral, limit: 20}]
rollout: {max_in_flight: 128, kv_cache_gib: 0.5}
learner: {tokens_per_microbatch: 2048, precision: float32}
bootstrap:
  iterations: 1
  samples_per_order: 4
  gate_pairs: 16
  verdict_rl: {start_from: star_dpo, steps: 2, pairs_per_step: 6, samples_per_order: 3, checkpoint_every: 1}
  self_distilled: {steps: 1, pairs_per_step: 6, samples_per_order: 1}
evaluation: {bootstrap_resamples: 200, majority_votes: 4, majority_pairs: 8, probe_pairs: 3}
"""


def config_of(root: Path, run_id: str, methods: str) -> RunConfig:
    (root / "small.yaml").write_text(YAML, encoding="utf-8")
    words = ["--run.root", str(root), "--run.id", run_id, "--bootstrap.methods", methods]
    return load_config(RunConfig, root / "small.yaml", words)


@pytest.fixture(scope="session")
def small_config(tmp_path_factory) -> RunConfig:
    return config_of(tmp_path_factory.mktemp("loop"), "small", METHODS)


@pytest.fixture(scope="session")
def small_run(small_config: RunConfig, ray_cluster) -> Path:
    return run_bootstrap(small_config, Console(quiet=True))


@pytest.fixture(scope="session")
def other_run(tmp_path_factory, ray_cluster) -> Path:
    return run_bootstrap(config_of(tmp_path_factory.mktemp("loop"), "other", OTHER_METHODS), Console(quiet=True))
