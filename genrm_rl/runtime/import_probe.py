"""Import what a run needs in a process of its own, so that a crash is caught, and find the first that breaks."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Only what learns needs OpenRLHF, and there is none for Python 3.13; the doctor says so beside the versions.
LOSSES = ("genrm_rl.algorithms.openrlhf_adapter:losses",)
if sys.version_info >= (3, 13) and importlib.util.find_spec("openrlhf") is None:
    LOSSES = ()
# In order of dependence, so that the first broken one is the cause of the others. `module:function` also calls the
# function; `?module` is tried only if it is installed: transformers picks these up, whether or not they fit torch.
MODULES = (
    "numpy",
    "torch",
    "?torchvision",
    "?torchaudio",
    "?torchcodec",
    "transformers",
    "ray.train",
    "ray.serve",
    "deepspeed",
    "peft",
    *LOSSES,
    "vllm.v1.engine.async_llm",
)
DEADLINE = 300.0  # seconds for all imports together; ten is usual, a busy machine takes minutes

REINSTALL = "run `make setup`; if that changes nothing, `rm -rf .venv` and `make setup` again"
TORCH_EXTRAS = (
    "it was built for another torch: .venv/bin/python -m pip uninstall -y torchvision torchaudio torchcodec "
    "(nothing here needs them)"
)
# What a broken import says (or the name of the signal that ended it), and what cures it.
TRAPS: tuple[tuple[str, str], ...] = (
    (r"torchvision|torchaudio|torchcodec", TORCH_EXTRAS),
    (r"flash_attn", "flash-attn was built for another torch: .venv/bin/python -m pip uninstall -y flash-attn"),
    (
        r"protobuf|Descriptors cannot be created|FieldDescriptor",
        "Ray 2.55 needs protobuf 6: .venv/bin/python -m pip install --no-deps protobuf==6.33.6",
    ),
    (r"lib(cuda|cublas|cudnn|nvrtc|nccl|torch_cuda|c10_cuda)", f"a CUDA build is on a CPU machine: {REINSTALL}"),
    (r"GLIBC_|GLIBCXX_", "this Linux is older than the packages; use one with glibc 2.28 or newer"),
    (r"SIGILL", "this processor lacks instructions that the package was built for (AVX2 at least)"),
    (r"SIGKILL", "the kernel ended it, most likely for memory: free some, 8 GiB are needed"),
    (r"compiled using NumPy|undefined symbol", f"its parts were built for other versions: {REINSTALL}"),
    (r"No module named", f"something is not installed: {REINSTALL}"),
)

_PROBE = """
import importlib, importlib.util, json, sys
for name in sys.argv[1:]:
    if name[0] == "?" and importlib.util.find_spec(name[1:]) is None:
        continue
    name = name.removeprefix("?")
    print("TRY", name, flush=True)
    module, _, function = name.partition(":")
    module = importlib.import_module(module)
    if function:
        getattr(module, function)()
found = {"cuda": None, "gpus": []}
torch = sys.modules.get("torch")
if hasattr(torch, "version"):
    found["cuda"] = torch.version.cuda
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            found["gpus"].append([gpu.name, gpu.total_memory])
print("DONE", json.dumps(found), flush=True)
"""


@dataclass(frozen=True)
class ImportProbe:
    """``broken`` is the first module that can't be imported (None: all can), ``error`` its last line.

    ``cuda`` is the CUDA version that torch was built for; ``gpus`` are (name, bytes).
    """

    imported: tuple[str, ...]
    broken: str | None = None
    error: str = ""
    cure: str = ""
    cuda: str | None = None
    gpus: tuple[tuple[str, int], ...] = ()


def probe_imports(
    modules: Sequence[str], environment: Mapping[str, str] | None = None, deadline: float = DEADLINE
) -> ImportProbe:
    """Import ``modules`` in order in a fresh process with ``environment`` (None: this one's)."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROBE, *modules],
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline,
        )
        output, errors, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        output, errors, status = _text(late.stdout), f"no answer within {deadline:.0f} s", -1
    tried = [line[4:] for line in output.splitlines() if line.startswith("TRY ")]
    devices = next((json.loads(line[5:]) for line in output.splitlines() if line.startswith("DONE ")), None)
    if devices is not None:
        return ImportProbe(
            tuple(tried), cuda=devices["cuda"], gpus=tuple((name, size) for name, size in devices["gpus"])
        )
    error = _last_line(errors, status)
    broken = tried[-1] if tried else "python"
    return ImportProbe(tuple(tried[:-1]), broken, error, cure_for(broken, f"{error}\n{errors}"))


def cure_for(module: str, text: str) -> str:
    """What is known to mend an import of ``module`` that failed with ``text``."""
    if f"?{module}" in MODULES:
        return TORCH_EXTRAS
    return next((cure for pattern, cure in TRAPS if re.search(pattern, text)), REINSTALL)


def _last_line(errors: str, status: int) -> str:
    if status < -1:
        return f"ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    # The exception's own line, not the progress of a library that goes on printing while the process ends.
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b", line)]
    return (raised or lines or [f"exit status {status}"])[-1]


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
