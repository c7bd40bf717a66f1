"""`ray job submit --working-dir .` from a checkout uploads the code, whatever lies in its folder of runs."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, create_package, get_uri_for_directory

ROOT = Path(__file__).parents[2]


def test_runs_and_environments_are_not_uploaded(tmp_path: Path):
    checkout, package = tmp_path / "checkout", tmp_path / "package.zip"
    (checkout / "jobs").mkdir(parents=True)
    shutil.copy(ROOT / ".gitignore", checkout)
    (checkout / "jobs/job.py").write_text("print('here')")
    for name in ("runs/demo/checkpoint.bin", ".venv/lib/torch.so", ".cache/model.bin"):
        large = checkout / name
        large.parent.mkdir(parents=True)
        with large.open("wb") as file:
            os.truncate(file.fileno(), 2 * GCS_STORAGE_MAX_SIZE)  # a hole: takes no room
    get_uri_for_directory(str(checkout), include_gitignore=True)
    create_package(str(checkout), package, include_gitignore=True)
    assert sorted(zipfile.ZipFile(package).namelist()) == [".gitignore", "jobs/job.py"]
    assert package.stat().st_size < GCS_STORAGE_MAX_SIZE
