"""Any GGUF file is a model: read once, with its own tokens and chat template; what can not be read is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

from genrm_rl.config import ModelConfig
from genrm_rl.errors import ModelError
from genrm_rl.models import list_models, load_tokenizer, resolve_model
from genrm_rl.models.resolve import names_hub_id

WIDTH, HEADS, LAYERS, HIDDEN = 64, 4, 2, 96
TEMPLATE = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
CONTROL = ("<|start|>", "<|end|>", "<|pad|>", "<|user|>")


def write_gguf(path: Path, architecture: str = "llama") -> Path:
    """A Llama (or Qwen2) of two layers with Q4_1 matrices, a byte-level vocabulary and a chat template."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [*CONTROL, *letters, "ab", "cd"]
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * len(CONTROL) + [TokenType.NORMAL] * (len(letters) + 2))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)
    qwen = architecture == "qwen2"
    for name, shape in shapes(len(tokens), qwen).items():
        values = rng.normal(size=shape).astype(np.float32) / 8
        if len(shape) == 2:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def shapes(vocabulary: int, qwen: bool) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found[f"{block}{name}.weight"] = (WIDTH, WIDTH)
            if qwen and name != "attn_output":
                found[f"{block}{name}.bias"] = (WIDTH,)
        found |= {f"{block}{name}.weight": (HIDDEN, WIDTH) for name in ("ffn_gate", "ffn_up")}
        found[f"{block}ffn_down.weight"] = (WIDTH, HIDDEN)
        found |= {f"{block}{name}_norm.weight": (WIDTH,) for name in ("attn", "ffn")}
    return found


def config(file: Path, cache: Path) -> ModelConfig:
    return ModelConfig(name=str(file), max_context=64, cache_dir=str(cache))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_gguf_file_is_a_model(architecture, tmp_path):
    file = write_gguf(tmp_path / "little.gguf", architecture)
    found = resolve_model(config(file, tmp_path / "cache"))
    assert (found.vocab_size, found.max_position, found.has_chat_template) == (262, 128, True)
    assert found.origin == "GGUF file little.gguf, de-quantised"
    assert found.notes == (
        "the base model's weights come from the quantised file little.gguf (Q4_1), so they are not exactly the "
        "published ones",
    )
    tokenizer = load_tokenizer(found.path)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|start|>", "<|end|>", "<|pad|>")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "ab c"}], tokenize=False)
    assert text == "<|user|>ab c<|end|>"
    assert tokenizer.decode(tokenizer("ab c", add_special_tokens=False)["input_ids"]) == "ab c"
    listed = {model.name: model for model in list_models(config(file, tmp_path / "cache"))}
    assert listed[str(file)].available and "quantised" in listed[str(file)].size


def test_another_file_of_the_same_name_is_another_model(tmp_path):
    file = write_gguf(tmp_path / "a.gguf")
    first = resolve_model(config(file, tmp_path / "cache")).path
    assert resolve_model(config(file, tmp_path / "cache")).path == first
    write_gguf(file, "qwen2")
    assert resolve_model(config(file, tmp_path / "cache")).path != first


def test_what_is_no_gguf_model_is_one_sentence(tmp_path):
    def said(file: Path) -> str:
        with pytest.raises(ModelError) as caught:
            resolve_model(config(file, tmp_path / "cache"))
        return str(caught.value)

    assert "is no file" in said(tmp_path / "absent.gguf")
    (tmp_path / "page.gguf").write_text("<html>")
    assert "page.gguf is not a GGUF file" in said(tmp_path / "page.gguf")
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    assert "cut.gguf can't be read as a model" in said(tmp_path / "cut.gguf")
    odd = write_header(tmp_path / "odd.gguf", "hologram")
    assert "odd.gguf can't be read as a model" in said(odd)
    assert not list((tmp_path / "cache").glob("gguf-*")), "nothing half-made is left"
    assert not names_hub_id("owner/model.gguf")


def write_header(path: Path, architecture: str) -> Path:
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
