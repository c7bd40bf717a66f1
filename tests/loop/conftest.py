"""One small turn of the closed loop on the tiny model, whose parts the tests of this folder look at: the bootstrap of
its first judges, the alignment with one of them, the comparisons, the labels and the next judge."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.closed_loop.label_file import ALLOWED
from genrm_rl.closed_loop.settings import bootstrap_settings
from genrm_rl.closed_loop.turn import FIRST
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.stories.bootstrap_genrm import run_bootstrap
from genrm_rl.stories.close_loop import run_loop
from tests.cut_off import CutOff

YAML = """
judge:
  model: {name: tiny, max_context: 320, dtype: float32}
  judge: {template: compact, max_rationale: 96}
  data:
    train: [{world: train, limit: 60}]
    gate: [{world: gate, limit: 16}]
    test: [{world: id, limit: 10}, {world: family_neutral, limit: 10}]
  rollout: {max_in_flight: 128, kv_cache_gib: 0.25}
  learner: {tokens_per_microbatch: 2048}
  bootstrap:
    methods: [llm_judge, star_dpo, verdict_rl]
    iterations: 1
    samples_per_order: 4
    base_share: 0.1
    gate_pairs: 16
    verdict_rl: {start_from: star_dpo, steps: 2, pairs_per_step: 6, samples_per_order: 3, checkpoint_every: 1}
    self_distilled: {steps: 1, pairs_per_step: 6, samples_per_order: 1}
  evaluation: {bootstrap_resamples: 200, majority_votes: 4, majority_pairs: 4, probe_pairs: 3}
policy:
  model: {name: tiny, max_context: 128, dtype: float32}
  prompts: {train: [{world: train, limit: 60}], test: [{world: test, limit: 8}]}
  sampling: {temperature: 0.8}
  rollout: {max_in_flight: 64, kv_cache_gib: 0.25}
  learner: {tokens_per_microbatch: 2048, cpus_per_worker: 1}
  judge_rollout: {max_in_flight: 64, kv_cache_gib: 0.25}
  reward: {rule: log_odds, reference: policy}
  ppo: {advantage: gae, steps: 2, prompts_per_step: 6, samples_per_prompt: 3, minibatches: 2, critic_warmup: 0}
  dpo: {rounds: 1, prompts_per_round: 16, samples_per_prompt: 3, min_margin: 0.05, batch_size: 8}
  evaluation: {prompts: 8, probes: 3, decoding: [sampled], bootstrap_resamples: 200}
  checkpoint_every: 1
comparisons: {questions: 24, samples_per_question: 3}
labels: {source: both, votes: 1, min_verdicts: 2, min_probability: 0.6}
"""
# Their paths are those of other methods with one difference each; a drill trains them.
OTHER_METHODS = ("bradley_terry", "pairrm", "genrm_direct", "genrm_points", "star_rationalizer_dpo", "self_distilled")


@pytest.fixture(scope="session")
def loop_config(tmp_path_factory: pytest.TempPathFactory) -> LoopConfig:
    root = tmp_path_factory.mktemp("closed")
    (root / "loop.yaml").write_text(YAML, encoding="utf-8")
    return load_config(LoopConfig, root / "loop.yaml", ["--run.root", str(root), "--run.id", "small"])


@pytest.fixture(scope="session")
def loop_root(loop_config: LoopConfig) -> Path:
    return Path(loop_config.run.root) / loop_config.run.id


@pytest.fixture(scope="session")
def small_config(loop_config: LoopConfig, loop_root: Path) -> RunConfig:
    """The settings of the loop's first bootstrap."""
    return bootstrap_settings(loop_config, loop_root, FIRST)


@pytest.fixture(scope="session")
def cut_off(loop_config: LoopConfig, loop_root: Path, ray_cluster: object) -> dict[Path, int]:
    """Cut off at the end of the first bootstrap, before the loop has recorded it: what was finished, and when."""
    with pytest.raises(KeyboardInterrupt):
        run_loop(loop_config, CutOff("report: "))
    assert not (loop_root / "turn1/stages/bootstrap").exists()
    return finished(loop_root)


@pytest.fixture(scope="session")
def loop_console() -> Console:
    """What the loop says after it was cut off."""
    return Console(file=StringIO(), width=200)


@pytest.fixture(scope="session")
def waiting(loop_config: LoopConfig, cut_off: dict[Path, int], loop_console: Console) -> Path:
    """Gone on until a person is wanted."""
    return run_loop(loop_config, loop_console, must_exist=True)


@pytest.fixture(scope="session")
def labelled(loop_config: LoopConfig, waiting: Path, loop_console: Console) -> Path:
    """The loop after a person has chosen a for one comparison, b for one, and skipped one."""
    path = waiting / "turn1/label_me.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row, label in zip(rows, ALLOWED, strict=False):
        row["label"] = label
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run_loop(loop_config, loop_console)


@pytest.fixture(scope="session")
def small_run(waiting: Path) -> Path:
    """The loop's first bootstrap."""
    return waiting / FIRST


@pytest.fixture(scope="session")
def other_run(small_config: RunConfig, tmp_path_factory: pytest.TempPathFactory, ray_cluster: object) -> Path:
    """A bootstrap of the methods that the loop's does not have."""
    run = small_config.run.model_copy(update={"root": str(tmp_path_factory.mktemp("other"))})
    bootstrap = small_config.bootstrap.model_copy(update={"methods": OTHER_METHODS})
    config = small_config.model_copy(update={"run": run, "bootstrap": bootstrap})
    return run_bootstrap(config, Console(quiet=True))


def finished(root: Path) -> dict[Path, int]:
    """Markers of what is complete, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in root.rglob("_COMPLETE.json")}
