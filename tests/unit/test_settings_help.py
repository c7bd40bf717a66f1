"""`--help SECTION` and `--dry-run`: every setting is explained, and only what differs is shown unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.cli import main
from genrm_rl.config.loading import describe, load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.dry_run import settings_of
from genrm_rl.models.resolve import TINY
from genrm_rl.settings_help import EVERY, SETTINGS, epilog

QUICKSTART = Path(__file__).parents[2] / "jobs/configs/quickstart.yaml"


@pytest.mark.parametrize("command", SETTINGS)
def test_each_section_that_a_commands_help_names_is_explained_by_it(command, capsys):
    main([command, "--help", EVERY])
    shown = capsys.readouterr().out
    for section in SETTINGS[command].model_fields:
        assert section in epilog(command)
        assert f"--{section.replace('_', '-')}" in shown


def test_one_section_is_explained_alone(capsys):
    main(["align", "--help", "ppo"])
    shown = capsys.readouterr().out
    assert "--ppo.prompts-per-step 40 prompts" in shown and "--learner" not in shown


def test_every_setting_has_a_meaning():
    for config in set(SETTINGS.values()):
        assert [key for key, _, _, meaning in describe(config()) if not meaning] == []


def test_a_section_that_does_not_exist_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["loop", "--help", "policy.rewrd"])
    assert ended.value.code == 2
    assert "did you mean policy.reward?" in " ".join(capsys.readouterr().err.split())


def test_a_dry_run_shows_what_differs_from_the_defaults_also_within_lists():
    config = load_config(LoopConfig, QUICKSTART, ["--policy.model.name", str(TINY)])
    console = Console(width=80, record=True)
    console.print(settings_of(config, every=False))
    shown = console.export_text()
    assert "judge.data.train.0.limit 300 pairs" in shown and f"policy.model.name {TINY}"[:60] in shown
    assert "judge.data.train.0.ranking" not in shown and "policy.ppo.epochs" not in shown
    assert len(describe(config)) > 4 * len(describe(config, beside=LoopConfig()))
