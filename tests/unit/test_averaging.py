"""Averaged checkpoints: files and names of the trained one, and a sentence where two models don't fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genrm_rl.errors import ModelError
from genrm_rl.learners.averaging import average_checkpoint
from genrm_rl.runtime.storage import publish_directory


def checkpoint(path: Path, **tensors: torch.Tensor) -> Path:
    with publish_directory(path, {"objective": "dpo", "version": "dpo-1", "steps": 3}) as folder:
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
        (folder / "adapter").mkdir()  # of the trained model alone
    return path


def test_the_mean_has_the_trained_ones_dtypes_and_files(tmp_path: Path):
    base = checkpoint(tmp_path / "base", up=torch.zeros(2), tied=torch.ones(1))
    trained = checkpoint(tmp_path / "trained", up=torch.full((2,), 4.0, dtype=torch.bfloat16))
    out = tmp_path / "mean"
    out.mkdir()
    facts = average_checkpoint(base, trained, 0.25, out)
    (name, mean), *others = load_file(out / "model.safetensors").items()
    assert (name, mean.dtype, mean.tolist(), others) == ("up", torch.bfloat16, [3.0, 3.0], [])
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "config.json"}
    assert facts["steps"] == 3 and facts["base_share"] == 0.25 and facts["version"] != "dpo-1"


def test_models_that_do_not_fit_are_refused(tmp_path: Path):
    base = checkpoint(tmp_path / "base", up=torch.zeros(2))
    for name, tensors in (("wider", {"up": torch.zeros(3)}), ("deeper", {"up": torch.zeros(2), "down": torch.ones(2)})):
        out = tmp_path / f"mean-{name}"
        out.mkdir()
        with pytest.raises(ModelError, match="can't be averaged with .*; set bootstrap.base_share to 0"):
            average_checkpoint(base, checkpoint(tmp_path / name, **tensors), 0.5, out)
