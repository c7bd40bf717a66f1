"""What ``genrm-rl models`` prints: the models that can be used here, without downloading or converting anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.config import ModelConfig
from genrm_rl.errors import ModelError
from genrm_rl.models import smollm2
from genrm_rl.models.hub import find_cached, hub_cache
from genrm_rl.models.inspection import describe_bytes, describe_size, inspect_directory
from genrm_rl.models.resolve import BUILT_IN, TINY, cache_directory, names_gguf, names_hub_id
from genrm_rl.runtime.storage import is_complete


@dataclass(frozen=True)
class ListedModel:
    """One line of the list. ``origin`` is where it comes from, or what is wrong; ``path`` is None until it is here."""

    name: str
    available: bool
    size: str
    origin: str
    path: Path | None = None


def list_models(config: ModelConfig) -> list[ListedModel]:
    """The built-in models, the one that ``config`` names, and the hub models in its cache."""
    cache_dir = cache_directory(config)
    listed = [_from_directory("tiny", TINY, "shipped with genrm_rl"), _smollm2(cache_dir)]
    if config.name not in BUILT_IN:
        listed.append(_configured(config, cache_dir))
    known = {model.name for model in listed}
    return listed + [model for model in _cached_hub_models(cache_dir) if model.name not in known]


def _from_directory(name: str, path: Path, origin: str) -> ListedModel:
    try:
        facts = inspect_directory(path)
    except ModelError as problem:
        return ListedModel(name, False, "", str(problem))
    return ListedModel(name, True, describe_size(facts.parameters, facts.bytes), f"{origin}: {path}", path)


def _smollm2(cache_dir: Path) -> ListedModel:
    gguf = smollm2.find_gguf()
    if gguf is None:
        return ListedModel("smollm2", False, "", f"package {smollm2.PACKAGE} is not installed")
    origin = f"package {smollm2.PACKAGE} {smollm2.package_version()}"
    if is_complete(smollm2.cached_directory(cache_dir)):
        return _from_directory("smollm2", smollm2.cached_directory(cache_dir), f"{origin}, de-quantised")
    size = f"{describe_bytes(gguf.stat().st_size)} quantised"
    return ListedModel("smollm2", True, size, f"{origin}, de-quantised on first use into {cache_dir}")


def _configured(config: ModelConfig, cache_dir: Path) -> ListedModel:
    if names_gguf(config.name):
        file = Path(config.name).expanduser()
        if not file.is_file():
            return ListedModel(config.name, False, "", f"{file} does not exist")
        size = f"{describe_bytes(file.stat().st_size)} quantised"
        return ListedModel(config.name, True, size, f"GGUF file, de-quantised on first use into {cache_dir}")
    if not names_hub_id(config.name):
        return _from_directory(config.name, Path(config.name).expanduser(), "local directory")
    cached = find_cached(config.name, config.revision, cache_dir)
    if cached is not None:
        return _from_directory(config.name, cached, "hub")
    return ListedModel(config.name, False, "", "hub, not downloaded yet")


def _cached_hub_models(cache_dir: Path) -> Iterator[ListedModel]:
    from huggingface_hub import constants, scan_cache_dir

    for folder in (hub_cache(cache_dir), Path(constants.HF_HUB_CACHE)):
        if not folder.is_dir():
            continue
        for repository in sorted(scan_cache_dir(folder).repos, key=lambda found: found.repo_id):
            for revision in repository.revisions if repository.repo_type == "model" else ():
                listed = _from_directory(repository.repo_id, Path(revision.snapshot_path), "hub")
                if listed.available:
                    yield listed
                    break
