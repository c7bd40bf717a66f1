"""Which engines can go on with the weights of another model directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genrm_rl.rollout.shared_pool import same_architecture


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return model(tmp_path / "base", {"hidden_size": 64, "dtype": "bfloat16"}, vocabulary=10)


def model(folder: Path, config: dict[str, object], vocabulary: int) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    return folder


def test_a_checkpoint_in_another_dtype_is_served_by_the_same_engines(base: Path, tmp_path: Path) -> None:
    config = {"hidden_size": 64, "dtype": "float32", "transformers_version": "5"}
    assert same_architecture(base, model(tmp_path / "trained", config, vocabulary=10))


@pytest.mark.parametrize(("hidden", "vocabulary"), [(128, 10), (64, 11)])
def test_another_network_or_other_tokens_need_engines_of_their_own(
    base: Path, tmp_path: Path, hidden: int, vocabulary: int
) -> None:
    assert not same_architecture(base, model(tmp_path / "other", {"hidden_size": hidden}, vocabulary))
