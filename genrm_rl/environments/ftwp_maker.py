"""Makes cooking games as `tw-make tw-cooking` does, in a process that lives as long as its host, one request a line.

Most of the time that TextWorld takes for a game is for reading its own grammars, which one process does once. The
process is another one because its words have to be hashed without chance (PYTHONHASHSEED): the maker iterates over
sets, and the same seed would make another game each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from genrm_rl.environments.java import die_with_parent
from genrm_rl.environments.protocol import EnvironmentFailure


class GameMaker:
    """A maker's process, started by the first game. Raises EnvironmentFailure if it ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def make(self, settings: dict[str, Any], seed: int, path: Path) -> None:
        """Write the game of these settings (those of `tw-make tw-cooking`) and seed to ``path``, with its JSON."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({"settings": settings, "seed": seed, "path": str(path.resolve())}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer or not path.is_file():
            self.close()
            raise EnvironmentFailure("died", f"the maker of cooking games ended at {settings}, seed {seed}")

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Its process, if it was started."""
        return () if self._process is None else (self._process.pid,)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
            preexec_fn=die_with_parent,
        )


def main() -> None:
    """Answer requests until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what TextWorld prints must not be read as an answer
    from textworld import GameOptions
    from textworld.challenges.tw_cooking import cooking
    from textworld.generator import compile_game

    for line in sys.stdin:
        request = json.loads(line)
        options = GameOptions()
        options.seeds = request["seed"]
        options.path, options.file_ext, options.force_recompile = request["path"], ".z8", True
        made = compile_game(cooking.make(request["settings"], options), options)
        print(json.dumps(made), file=answers, flush=True)


if __name__ == "__main__":
    main()
