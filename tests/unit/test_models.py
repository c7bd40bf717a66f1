"""A model is a checked local directory, or one sentence that says what is wrong and what to do."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from genrm_rl.config import ModelConfig
from genrm_rl.errors import ModelError
from genrm_rl.models import list_models, load_tokenizer, resolve_model
from genrm_rl.models.inspection import inspect_directory, read_safetensors_header
from tests.unit.model_files import COMMIT, local_hub, write_model


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on loopback that serves ``owner/model`` from a folder which tests may change."""
    from huggingface_hub import constants

    with local_hub(write_model(tmp_path / "served"), "owner/model") as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "own_hub_cache"))
        yield served


def hub_config(tmp_path, name="owner/model", **settings):
    return ModelConfig(name=name, cache_dir=str(tmp_path / "cache"), **settings)


def test_the_shipped_model_is_what_its_files_say(tiny_model):
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tiny_model.path)
    assert tiny_model.parameters == sum(parameter.numel() for parameter in loaded.parameters())
    tied = loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert tiny_model.tied_embeddings == tied
    tokenizer = load_tokenizer(tiny_model.path)
    assert len(tokenizer) <= tiny_model.vocab_size
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tiny_model.has_chat_template


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_are_recognised(tmp_path, tied):
    assert inspect_directory(write_model(tmp_path / "m", tied=tied)).tied_embeddings is tied


def test_a_local_directory_resolves_to_itself(model):
    resolved = resolve_model(ModelConfig(name=str(model)))
    assert (resolved.path, resolved.vocab_size, resolved.parameters) == (model, 4, 32)


def test_a_second_copy_of_a_tied_embedding_is_no_contradiction(model):
    """Some tools write it; sizes beyond one compared block, equal and with one number changed in the last."""
    embedding = np.arange(2**16, dtype=np.float32).reshape(-1, 8)
    change_config(model, vocab_size=len(embedding))
    change_weights(model, **{"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.copy()})
    assert inspect_directory(model).tied_embeddings
    other = embedding.copy()
    other[-1, -1] += 1
    change_weights(model, **{"lm_head.weight": other})
    with pytest.raises(ModelError, match="another one"):
        inspect_directory(model)


@pytest.mark.parametrize("name", ["model.layers.9.embed_tokens.weight", "mtp.lm_head.weight", "model.extra_state"])
def test_parts_that_engines_do_not_read_as_the_head_are_no_contradiction(model, name):
    change_weights(model, **{name: np.zeros((0,) if "state" in name else (4, 8), np.float32)})
    assert inspect_directory(model).tied_embeddings


@pytest.mark.parametrize("name", ["embed_out.weight", "model.language_model.lm_head.weight", "output.weight"])
def test_a_head_of_its_own_may_have_another_name(model, name):
    change_config(model, tie_word_embeddings=False)
    change_weights(model, **{name: np.zeros((4, 8), np.float32)})
    assert not inspect_directory(model).tied_embeddings


def no_config(path):
    (path / "config.json").unlink()


def adapter_only(path):
    (path / "config.json").rename(path / "adapter_config.json")


def config_is_no_json(path):
    (path / "config.json").write_text("{")


def config_is_a_list(path):
    (path / "config.json").write_text("[]")


def unknown_architecture(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"model_type": "no_such_architecture"}))


def contradicting_config(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"num_attention_heads": 3}))


def config_with_code(path):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Evil"}}))


def tokenizer_with_code(path):
    (path / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["tok.Evil", None]}}))


def no_tokenizer(path):
    (path / "tokenizer.json").unlink()


def pickle_only(path):
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def no_weights(path):
    (path / "model.safetensors").unlink()


def lfs_pointer(path):
    (path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def web_page(path):
    (path / "model.safetensors").write_text("<!doctype html><title>not found</title>")


def missing_shard(path):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def change_weights(path, **changes):
    file = path / "model.safetensors"
    save_file(load_file(file) | changes, file, metadata={"format": "pt"})


def change_config(path, **changes):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))


def untied_without_a_head(path):
    change_config(path, tie_word_embeddings=False)


def silent_config_of_an_untied_architecture(path):
    config = json.loads((path / "config.json").read_text())
    del config["tie_word_embeddings"]  # Llama's default is a head of its own
    (path / "config.json").write_text(json.dumps(config))


def tied_with_another_head(path):
    change_weights(path, **{"lm_head.weight": np.full((4, 8), 2, np.float32)})


def embedding_of_another_vocabulary(path):
    change_config(path, vocab_size=5)


def no_embedding(path):
    save_file({"model.norm.weight": np.ones(8, np.float32)}, path / "model.safetensors")


def shards_that_were_not_gathered(path):
    change_weights(path, **{"model.layers.0.mlp.up_proj.weight": np.ones(0, np.float32)})


def adapter_beside_the_config(path):
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    (path / "model.safetensors").rename(path / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (untied_without_a_head, "tie_word_embeddings false) and the weights have none"),
        (silent_config_of_an_untied_architecture, "tie_word_embeddings false) and the weights have none"),
        (tied_with_another_head, "tie_word_embeddings true) and the weights have another one (lm_head.weight)"),
        (embedding_of_another_vocabulary, "vocab_size 5 and model.embed_tokens.weight has 4 rows"),
        (no_embedding, "has no token embedding among its 1 tensors"),
        (shards_that_were_not_gathered, "has no values for model.layers.0.mlp.up_proj.weight (shape [0])"),
        (adapter_beside_the_config, "a LoRA adapter of owner/base"),
        (shutil.rmtree, "neither"),
        (no_config, "has no config.json"),
        (adapter_only, "LoRA adapter"),
        (config_is_no_json, "config.json is not valid JSON"),
        (config_is_a_list, "does not hold a JSON object"),
        (config_with_code, "asks for code of its own"),
        (tokenizer_with_code, "asks for code of its own"),
        (unknown_architecture, "no_such_architecture"),
        (contradicting_config, "not a multiple of the number of attention heads"),
        (no_tokenizer, "has no tokenizer"),
        (pickle_only, "only as pytorch_model.bin"),
        (no_weights, "has no weights"),
        (lfs_pointer, "Git LFS pointer"),
        (web_page, "is not a safetensors file"),
        (missing_shard, "lacks 1 of the 2 weight files"),
    ],
)
def test_a_damaged_or_unsafe_directory_is_refused_in_one_sentence(model, damage, message):
    damage(model)
    with pytest.raises(ModelError) as caught:
        resolve_model(ModelConfig(name=str(model)))
    assert message in str(caught.value)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_weights_cut_off_anywhere_are_refused(model, data):
    file = model / "model.safetensors"
    whole = file.read_bytes()
    keep = data.draw(st.integers(0, len(whole) - 1))
    try:
        file.write_bytes(whole[:keep])
        with pytest.raises(ModelError):
            read_safetensors_header(file)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="tniy"), "did you mean `tiny`?"),
        (ModelConfig(name="/no/such/model"), "neither `tiny`"),
        (ModelConfig(name="tiny", max_context=100_000), "is more than the 512 positions of tiny"),
        (ModelConfig(name="tiny", revision="main"), "is for hub ids"),
    ],
)
def test_impossible_settings_are_refused(config, message):
    with pytest.raises(ModelError, match=message.replace("?", r"\?")):
        resolve_model(config)


def test_a_hub_model_is_downloaded_once_and_then_needs_no_hub(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    (hub.folder / "pytorch_model.bin").write_bytes(b"pickle")
    (hub.folder / "onnx").mkdir()
    (hub.folder / "onnx" / "model.safetensors").write_bytes(b"other format")
    first = resolve_model(hub_config(tmp_path))
    assert first.parameters == 32
    assert COMMIT[:12] in first.origin
    assert set(hub.downloaded) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert resolve_model(hub_config(tmp_path)).path == first.path
    assert any(
        listed.name == "owner/model" and listed.available for listed in list_models(hub_config(tmp_path, "tiny"))
    )


def test_a_hub_model_with_pickles_only_is_refused_before_any_download(hub, tmp_path):
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="owner/model has no safetensors"):
        resolve_model(hub_config(tmp_path))
    assert hub.downloaded == []


def test_a_hub_model_with_code_is_refused_before_its_weights_are_downloaded(hub, tmp_path):
    config_with_code(hub.folder)
    with pytest.raises(ModelError, match="code of its own"):
        resolve_model(hub_config(tmp_path))
    assert hub.downloaded == ["config.json"]


def test_an_unknown_hub_model_is_told(hub, tmp_path):
    with pytest.raises(ModelError, match="the hub has no model owner/other"):
        resolve_model(hub_config(tmp_path, "owner/other"))


def test_offline_and_absent_is_one_sentence_with_the_way_out(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        resolve_model(hub_config(tmp_path))
    assert "HF_HUB_OFFLINE" in str(caught.value) and "`tiny`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.downloaded == []


def test_an_unreachable_hub_is_one_sentence_with_the_way_out(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match="the hub can't be reached"):
        resolve_model(hub_config(tmp_path))


def test_a_tokenizer_without_pad_token_gets_one_that_does_not_end_answers(tiny_model, tmp_path):
    folder = write_model(tmp_path / "m", tokenizer=tiny_model.path)
    settings_file = folder / "tokenizer_config.json"
    settings_file.write_text(json.dumps(json.loads(settings_file.read_text()) | {"pad_token": None}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token == "<pad>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_tokenizer_that_is_no_tokenizer_is_one_sentence(model):
    with pytest.raises(ModelError, match="can't be loaded"):
        load_tokenizer(model)


def test_the_list_says_what_is_wrong_with_a_configured_model(model):
    no_weights(model)
    listed = {found.name: found for found in list_models(ModelConfig(name=str(model)))}
    assert listed["tiny"].available and "parameters" in listed["tiny"].size
    assert not listed[str(model)].available and "has no weights" in listed[str(model)].origin
