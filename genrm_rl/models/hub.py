"""Models from a hub id: safetensors only, no code, and what is cached already needs no network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from genrm_rl.errors import ModelError
from genrm_rl.models.inspection import UNSAFE_SUFFIXES, inspect_directory, read_object, refuse_remote_code

# Files of the top folder only: repositories keep other formats and older originals in sub-folders.
ALLOWED = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*",
    "merges.txt", "chat_template.*", "*.safetensors", "model.safetensors.index.json", "LICENSE*",
)  # fmt: skip
IGNORED = ("*/*", "consolidated*")
TIMEOUT = 15.0  # seconds that the hub may take to answer a question about a repository


def provide_hub_model(repository: str, revision: str | None, cache_dir: Path) -> Path:
    """A local directory with ``repository``: from a cache if it is whole there, else downloaded.

    A cached branch is used as it is, so a repeated run sees the same model; name a commit as ``revision`` to pin it.
    Raises ModelError if it is neither cached nor reachable, does not exist, needs a login, brings code, or has no
    safetensors.
    """
    cached = find_cached(repository, revision, cache_dir)
    return cached if cached is not None else _download(repository, revision, cache_dir)


def find_cached(repository: str, revision: str | None, cache_dir: Path) -> Path | None:
    """The snapshot of ``repository`` in ``cache_dir`` or in the hub library's own cache, if it is whole."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for folder in (hub_cache(cache_dir), Path(constants.HF_HUB_CACHE)):
        try:
            path = Path(
                snapshot_download(
                    repository,
                    revision=revision,
                    cache_dir=folder,
                    local_files_only=True,
                    allow_patterns=list(ALLOWED),
                    ignore_patterns=list(IGNORED),
                )
            )
            inspect_directory(path)
        except (LocalEntryNotFoundError, ModelError):  # absent, or an interrupted download
            continue
        return path
    return None


def hub_cache(cache_dir: Path) -> Path:
    """Where downloads are kept."""
    return cache_dir / "hub"


def check_hub_model(repository: str, revision: str | None, cache_dir: Path) -> None:
    """Ask the hub whether ``repository`` exists and is safe to load, without downloading it. Raises ModelError."""
    from huggingface_hub import HfApi

    with _hub_errors(repository, revision, hub_cache(cache_dir)):
        info = HfApi(endpoint=_endpoint()).model_info(repository, revision=revision, timeout=TIMEOUT)
        _refuse_unsafe(_named(repository, revision), [sibling.rfilename for sibling in info.siblings or []])


def _download(repository: str, revision: str | None, cache_dir: Path) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download

    check_hub_model(repository, revision, cache_dir)
    where = {"revision": revision, "cache_dir": hub_cache(cache_dir), "endpoint": _endpoint()}
    with _hub_errors(repository, revision, hub_cache(cache_dir)):
        config = hf_hub_download(repository, "config.json", **where)
        refuse_remote_code(read_object(Path(config)), f"{_named(repository, revision)}/config.json")
        path = snapshot_download(repository, allow_patterns=list(ALLOWED), ignore_patterns=list(IGNORED), **where)
    return Path(path)


@contextlib.contextmanager
def _hub_errors(repository: str, revision: str | None, folder: Path) -> Iterator[None]:
    """Turn what the hub library raises into one ModelError with the way out."""
    import httpx
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    named = _named(repository, revision)
    try:
        yield
    except GatedRepoError as problem:
        raise ModelError(f"{named} needs its licence accepted on its page, and a login (`hf auth login`)") from problem
    except RepositoryNotFoundError as problem:
        raise ModelError(f"the hub has no model {repository}, or it is private (`hf auth login` logs in)") from problem
    except RevisionNotFoundError as problem:
        raise ModelError(f"model {repository} has no revision {revision}") from problem
    except RemoteEntryNotFoundError as problem:
        raise ModelError(f"{named} has no config.json, so it is not a model that transformers can load") from problem
    except HFValidationError as problem:
        raise ModelError(f"{repository!r} is not a hub id: {problem}") from problem
    except OfflineModeIsEnabled as problem:
        raise ModelError(f"{named} is not in {folder} and HF_HUB_OFFLINE forbids a download; {_WAY_OUT}") from problem
    except (httpx.HTTPError, OSError) as problem:
        reason = next(iter(str(problem).splitlines()), type(problem).__name__)
        raise ModelError(f"{named} is not in {folder} and the hub can't be reached ({reason}); {_WAY_OUT}") from problem


def _endpoint() -> str:
    """The hub, or the mirror that HF_ENDPOINT names now (the hub library reads it only when it is imported)."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def _named(repository: str, revision: str | None) -> str:
    return f"{repository}@{revision}" if revision else repository


_WAY_OUT = "go online, or give --model.name the local directory of a copy, or `tiny` or `smollm2`, which need no hub"


def _refuse_unsafe(named: str, files: list[str]) -> None:
    top = [file for file in files if "/" not in file]
    if any(file.endswith(".safetensors") for file in top):
        return
    unsafe = [file for file in top if file.endswith(UNSAFE_SUFFIXES)]
    found = (
        f"only {unsafe[0]}, a format that can run code when it is loaded" if unsafe else "no weights in its top folder"
    )
    raise ModelError(f"{named} has no safetensors ({found}); choose a repository or revision that has them")
