"""The examples of `--help`: each command has some, and each is a command line that is accepted as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from genrm_rl.cli import RESUMABLE, app, main
from genrm_rl.cli_examples import EXAMPLES
from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.settings_help import SETTINGS, asks_for_settings

GROUP = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands  # type: ignore[attr-defined]
ALL = [line for lines in EXAMPLES.values() for line in lines]


def test_every_command_has_an_example_of_itself_in_its_help(capsys: pytest.CaptureFixture[str]):
    assert set(EXAMPLES) == set(COMMANDS)
    for name, lines in EXAMPLES.items():
        epilog = COMMANDS[name].epilog or ""
        assert all(line.startswith(f"genrm-rl {name}") and line in epilog for line in lines), name
    with pytest.raises(SystemExit):
        main(["best-of", "--help"])
    assert "winners.jsonl" in capsys.readouterr().out


def test_every_command_that_keeps_a_run_says_after_ctrl_c_how_to_go_on():
    look = {"plan", "doctor", "models", "agent-pairs"}  # read a configuration, keep no run
    keep = {name for name, config in SETTINGS.items() if "run" in config.model_fields}
    assert keep - look <= set(RESUMABLE)


@pytest.mark.parametrize("line", ALL)
def test_an_example_parses_and_its_settings_exist(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)  # shipped configurations are found from any folder
    name, *words = shlex.split(line)[1:]
    if asks_for_settings([name, *words]):
        return main([name, *words])
    context = COMMANDS[name].make_context(name, words)
    if name in SETTINGS:
        config = [file for file in context.params.get("config") or [] if file.name != "first.yaml"]  # of `init`
        load_config(SETTINGS[name], config, context.args)
    else:
        assert context.args == []


@pytest.mark.parametrize(
    "line", [line for line in ALL if SETTINGS.get(line.split()[1], RunConfig) is not RunConfig and "--dry-run" in line]
)
def test_a_dry_run_among_them_runs(line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(line)[1:])
    assert not ended.value.code and "settings that differ" in capsys.readouterr().out
