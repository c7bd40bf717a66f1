"""A model out of one GGUF file: de-quantised once into the cache, with the tokens and the chat template of the file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from genrm_rl.errors import ModelError
from genrm_rl.models.inspection import in_one_line
from genrm_rl.models.tokenizer import SPARE_PAD_TOKENS
from genrm_rl.runtime.console import people_console
from genrm_rl.runtime.storage import is_complete, publish_directory, read_manifest

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerBase

SUFFIX = ".gguf"
MAGIC = b"GGUF"
TOKENS = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
PLAIN = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class GgufModel:
    """A GGUF file and where its checkpoint is kept. ``facts`` go into the manifest."""

    name: str
    file: Path
    target: Path
    facts: Mapping[str, str] = field(default_factory=dict)


def provide_gguf(path: Path, cache_dir: Path) -> Path:
    """The de-quantised checkpoint (bfloat16) of a GGUF file, made on first use.

    The folder's name holds a hash of the file, so another file of the same name is another model. Raises ModelError for
    what is no GGUF file, is cut off, or holds an architecture or number format that transformers does not read.
    """
    if not path.is_file():
        raise ModelError(f"model.name {str(path)!r} is no file; give the path of a GGUF file")
    with open(path, "rb") as handle:
        if handle.read(4) != MAGIC:
            raise ModelError(f"{path} is not a GGUF file: it does not begin with {MAGIC.decode()}; download it again")
        handle.seek(0)
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    target = cache_dir / f"gguf-{path.stem}-{digest[:12]}"
    return dequantised(GgufModel(path.stem, path, target, {"sha256": digest}))


def dequantised(model: GgufModel) -> Path:
    """``model.target``, made if it is not there.

    Safe against a second process (file lock) and against a kill (temporary folder, completion marker, rename).
    """
    target = model.target
    if is_complete(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(target.parent / f".{target.name}.lock")):
            if not is_complete(target):  # another process may have made it while this one waited
                _dequantise(model)
    except OSError as problem:
        raise ModelError(
            f"{model.name} can't be written to {target.parent} ({problem.strerror or problem}); it needs a few times "
            f"the size of {model.file.name} there, or choose another folder with --model.cache-dir"
        ) from problem
    return target


def quantised_note(path: Path) -> str | None:
    """What a report says of a model directory that was made here, or None for any other."""
    manifest = read_manifest(path) if is_complete(path) else {}
    if not manifest.get("formats"):
        return None
    return (
        f"the base model's weights come from the quantised file {manifest['file']} ({manifest['formats']}), so they "
        "are not exactly the published ones"
    )


def _dequantise(model: GgufModel) -> None:
    console = people_console(stderr=True)
    console.print(f"de-quantising {model.name}: once, a minute or so")
    where = {"gguf_file": model.file.name}
    try:
        reader, tokenizer, network = _read(model.file, where)
    except ModelError:
        raise
    except Exception as problem:  # gguf and transformers raise whatever a bad byte leads to
        reason = in_one_line(problem).partition(". ")[0]
        raise ModelError(
            f"{model.file} can't be read as a model ({reason}); download it again, or choose a GGUF file whose "
            "architecture and number formats transformers reads"
        ) from problem
    for settings in (network.config, network.generation_config):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(settings, name, getattr(tokenizer, name))
    manifest = {"model": model.name, "file": model.file.name, "formats": _formats(reader), **model.facts}
    with publish_directory(model.target, manifest) as folder:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    console.print(f"{model.name} is in {model.target}")


def _read(file: Path, where: Mapping[str, str]) -> tuple[GGUFReader, PreTrainedTokenizerBase, Any]:
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reader = GGUFReader(file)
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
    _take_tokens(tokenizer, reader, file)
    return reader, tokenizer, AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.bfloat16, **where)


def _take_tokens(tokenizer: PreTrainedTokenizerBase, reader: GGUFReader, file: Path) -> None:
    """Control tokens and chat template as the file says: transformers takes the start token of some files for their end
    token, with which no answer would ever end."""
    for name, key in TOKENS.items():
        number = _value(reader, f"tokenizer.ggml.{key}_token_id")
        if number is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(int(number)))
        elif name == "eos_token":
            raise ModelError(f"{file} does not say which token ends a text (tokenizer.ggml.eos_token_id)")
    template = _value(reader, "tokenizer.chat_template")
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.clean_up_tokenization_spaces = False  # would delete spaces of BPE text when it is decoded
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = [token for token in SPARE_PAD_TOKENS if token in tokenizer.get_vocab()]
        tokenizer.pad_token = spare[0] if spare else tokenizer.eos_token


def _value(reader: GGUFReader, key: str) -> Any:
    found = reader.get_field(key)
    return None if found is None else found.contents()


def _formats(reader: GGUFReader) -> str:
    """The number formats of the quantised weights, that of most weights first; empty if none is quantised."""
    counted: Counter[str] = Counter()
    for tensor in reader.tensors:
        counted[tensor.tensor_type.name] += int(tensor.n_elements)
    return ", ".join(name for name, _ in counted.most_common() if name not in PLAIN)
