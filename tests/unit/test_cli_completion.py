"""Shell completion: commands, their options, and the settings of their configuration."""

from __future__ import annotations

import pytest

from genrm_rl.cli import main


@pytest.mark.parametrize(
    ("line", "offered", "missing"),
    [
        ("qui", {"quickstart"}, set()),
        ("align --re", {"--resume", "--rejudge", "--reward."}, {"--reward.url"}),
        ("align --ppo.st", {"--ppo.steps", "--ppo.staleness"}, {"--ppo.epochs"}),
        ("loop --policy.ppo.samples", {"--policy.ppo.samples-per-prompt"}, set()),
        ("report --", {"--help"}, {"--run."}),
    ],
)
def test_a_shell_is_offered(line, offered, missing, capsys, monkeypatch):
    words = ["genrm-rl", *line.split()]
    monkeypatch.setenv("_GENRM_RL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        main([])
    found = set(capsys.readouterr().out.split())
    assert offered <= found and not missing & found


def test_the_script_for_a_shell_names_the_command(capsys, monkeypatch):
    monkeypatch.setenv("_GENRM_RL_COMPLETE", "source_bash")
    with pytest.raises(SystemExit):
        main([])
    assert "genrm-rl" in capsys.readouterr().out
