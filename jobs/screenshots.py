"""Pictures of a run's page and of those within it, as a browser shows them: wide, on a phone, and in the dark.

    python jobs/screenshots.py quickstart --out shots
    python jobs/screenshots.py quickstart --out docs --name report

The second makes ``docs/report.png``, the picture of the README, alone. Pages are drawn anew from what the run recorded;
Chromium has to be installed.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from genrm_rl.config.watching import AlarmConfig, WatchConfig
from genrm_rl.pages.live import Watcher
from genrm_rl.pages.runs import page_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import CHROMIUM, Browser  # the one that tests of pages use

SHAPES = {"wide": (1280, 1600, False), "narrow": (390, 1600, False), "dark": (1280, 1600, True)}
README = (1100, 1400, False)
COLORS = 256  # of a picture's palette: pages have few


def main() -> None:
    """Read the command line and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run directory, or run id")
    parser.add_argument("--root", default="runs", help="folder of all run directories")
    parser.add_argument("--out", type=Path, default=Path("shots"), help="folder of the pictures")
    parser.add_argument("--name", default="", help="one picture of the run's own page, under this name")
    words = parser.parse_args()
    if CHROMIUM is None:
        parser.exit(2, "error: no browser is installed; install chromium\n")
    words.out.mkdir(parents=True, exist_ok=True)
    watcher = Watcher(words.run, words.root, WatchConfig())
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        for within in [""] if words.name else watcher.runs():
            page = Path(folder) / "page.html"
            page.write_text(page_of(watcher.path / within, AlarmConfig()).html, encoding="utf-8")
            shapes = {words.name: README} if words.name else SHAPES
            for shape, (width, height, dark) in shapes.items():
                name = words.name or "-".join(filter(None, (within.replace("/", "-") or "run", shape)))
                picture = words.out / f"{name}.png"
                take(browser, page, picture, (width, height), dark=dark)
                print(picture)


def take(browser: Browser, page: Path, picture: Path, size: tuple[int, int], *, dark: bool) -> None:
    """One picture of the beginning of a page. The size is that of the emulated device: a window can't be as narrow as a
    phone."""
    shown = browser.open(page.as_uri(), width=size[0], height=size[1], dark=dark)
    taken = base64.b64decode(shown.call("Page.captureScreenshot", format="png")["data"])
    with Image.open(io.BytesIO(taken)) as image:
        image.convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(picture, optimize=True)


if __name__ == "__main__":
    main()
