"""The settings that docs/judges.md shows are settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.serving import ServeConfig
from genrm_rl.judging.types import Verdict

PAGE = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
JOBS = (RunConfig, AlignConfig, ServeConfig)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_settings_is_loaded(tmp_path: Path, example: str) -> None:
    (tmp_path / "job.yaml").write_text(example, encoding="utf-8")
    job = next(job for job in JOBS if set(yaml.safe_load(example)) <= set(job.model_fields))
    assert load_config(job, tmp_path / "job.yaml") != job()


def test_every_setting_of_the_section_that_the_page_names_exists() -> None:
    fields = JOBS[0].model_fields["judge"].annotation.model_fields
    assert {name for name in re.findall(r"`judge\.(\w+)`", PAGE)} <= set(fields)


def test_the_page_of_the_service_has_words_for_every_verdict() -> None:
    page = (Path(__file__).parents[2] / "genrm_rl/serving/page.html").read_text(encoding="utf-8")
    assert all(f"{verdict}:" in page for verdict in Verdict)
