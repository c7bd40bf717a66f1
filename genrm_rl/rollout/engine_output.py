"""What an engine's processes wrote before they died: the cause, and a copy that outlives Ray's session folder.

vLLM's own process logs why it failed, and raises "see root cause above" in the actor that started it. Both write to the
actor's standard error, which Ray keeps in a file of its session and removes with it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

# The last line of a traceback, plain or in a line of vLLM's log: an exception's name and its text.
RAISED = re.compile(r"(?:^|\] |\) )((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt)): (.+)$")
ELSEWHERE = ("Engine core initialization failed", "WorkerProc initialization failed")  # vLLM's words for "see above"
STDERR = 2


def start_failure(index: int, error: BaseException) -> str:
    """One sentence on why engine ``index``, whose actor this process is, did not start, and where all of it is kept."""
    output = own_output()
    text = output.read_text(encoding="utf-8", errors="replace") if output else ""
    cause = cause_in(text) or f"{type(error).__name__}: {error}".splitlines()[0]
    kept = keep(output, index) if output else None
    return f"engine {index} did not start: {cause}" + (f"; all that it said is in {kept}" if kept else "")


def cause_in(text: str) -> str | None:
    """The last exception of a log that says more than to look above; None without one."""
    found = (RAISED.search(line.rstrip()) for line in reversed(text.splitlines()))
    return next((f"{match[1]}: {match[2]}" for match in found if match and not match[2].startswith(ELSEWHERE)), None)


def own_output() -> Path | None:
    """The file that this process's standard error goes to; None if it is no file."""
    path = Path(f"/proc/self/fd/{STDERR}")
    target = Path(os.readlink(path)) if path.is_symlink() else None
    return target if target is not None and target.is_file() else None


def keep(output: Path, index: int) -> Path:
    """A copy of the output in the folder for temporary files."""
    kept = Path(tempfile.gettempdir()) / f"genrm-engine-{index}-{os.getpid()}.log"
    shutil.copyfile(output, kept)
    return kept
