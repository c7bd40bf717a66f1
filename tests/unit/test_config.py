"""Configuration: overrides, nearest keys, lines, one place for defaults, and a slim import."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrm_rl.config import LearnerConfig, RunConfig
from genrm_rl.config.loading import describe, load_config, parse_overrides
from genrm_rl.config.plan import part_sizes, plan_rounds
from genrm_rl.config.serving import ServeConfig
from genrm_rl.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(tmp_path: Path, text: str, *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(RunConfig, write(tmp_path, text), words)
    return str(caught.value)


def test_overrides_reach_nested_and_listed_settings(tmp_path):
    path = write(tmp_path, "data:\n  test:\n    - {world: id, limit: 9}\n")
    words = ["--data.test.0.limit", "5", "--bootstrap.dpo.learning-rate=3e-5", "--data.on-bad-row", "skip"]
    config = load_config(RunConfig, path, words)
    assert config.data.test[0].limit == 5
    assert config.bootstrap.dpo.learning_rate == 3e-5
    assert config.bootstrap.dpo.nll_coefficient == RunConfig().bootstrap.dpo.nll_coefficient
    assert config.data.on_bad_row == "skip"


def test_overriding_one_setting_of_a_fit_keeps_its_other_defaults(tmp_path):
    config = load_config(RunConfig, None, ["--bootstrap.sft.epochs", "3"])
    assert config.bootstrap.sft.model_dump(exclude={"epochs"}) == RunConfig().bootstrap.sft.model_dump(
        exclude={"epochs"}
    )


def test_unknown_key_names_the_line_and_the_nearest_key(tmp_path):
    message = problem(tmp_path, "run:\n  id: x\n  sed: 3\n")
    assert "run.yaml:3" in message
    assert "did you mean run.seed?" in message


def test_key_without_its_section_is_found(tmp_path):
    assert "did you mean run.seed?" in problem(tmp_path, "", "--seed", "3")


def test_unknown_key_in_a_listed_section(tmp_path):
    assert "data.test.0.limit?" in problem(tmp_path, "data:\n  test:\n    - {path: a.jsonl, limt: 3}\n")


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("run:\n  seed: abc\n", (), ("run.yaml:2", "run.seed", "'abc'")),
        ("run: {id: x}\nrun: {id: y}\n", (), ("run.yaml:2", "second time")),
        ("run: [\n", (), ("not valid YAML",)),
        ("- 3\n", (), ("must hold sections",)),
        ("data:\n  test:\n    - {path: a.jsonl, world: id}\n", (), ("run.yaml:3", "exactly one of `path` and `world`")),
        ("model: {max_context: 64}\n", (), ("leaves no room",)),
        ("", ("--bootstrap.dpo.learning-rate", "3"), ("learning_rate 3.0 is above 1",)),
        ("", ("--data.on-bad-row", "skp"), ("command line", "'fail' or 'skip'", "'skp'")),
        ("", ("--data.test.0.limit", "3"), ("no entry 0",)),
        ("", ("--run.seed",), ("needs a value",)),
        ("", ("run.seed", "3"), ("is not a setting",)),
        ("run:\n  id: a b\n", (), ("run.yaml:2", "run.id")),
        ("run:\n  seed:\n    deep: 1\n", (), ("run.seed is a single value",)),
    ],
)
def test_bad_settings_are_named(tmp_path, text, words, expected):
    message = problem(tmp_path, text, *words)
    for part in expected:
        assert part in message
    assert "\n" not in message


def test_missing_file_lists_what_is_there(tmp_path):
    write(tmp_path, "")
    with pytest.raises(ConfigError, match=r"does not exist; that folder has run\.yaml"):
        load_config(RunConfig, tmp_path / "rum.yaml")


def test_not_utf8(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"run: {id: \xff}")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(RunConfig, path)


def test_parse_overrides_reads_yaml_values():
    assert parse_overrides(["--a.b-c", "[1, 2]", "--x=null"]) == [(("a", "b_c"), [1, 2]), (("x",), None)]


def test_an_address_of_colons_is_a_text():
    assert load_config(ServeConfig, None, ["--serving.host", "::"]).serving.host == "::"
    assert load_config(ServeConfig, None, ["--serving", "{host: '::1'}"]).serving.host == "::1"


def test_every_setting_says_what_it_is():
    assert [key for key, _, _, meaning in describe(RunConfig()) if not meaning] == []


@pytest.mark.parametrize(
    ("gpus", "precision", "computed"),
    [(0, "auto", "float32"), (0.5, "auto", "bfloat16"), (0, "bfloat16", "bfloat16"), (1, "float32", "float32")],
)
def test_learners_compute_in_what_their_device_is_good_at(gpus, precision, computed):
    assert LearnerConfig(gpus_per_worker=gpus, precision=precision).compute_format == computed


def test_parts_cover_everything():
    assert part_sizes(10, 3) == [4, 3, 3]
    assert sum(part_sizes(61_135, 3)) == 61_135


def test_batch_table_bounds():
    config = load_config(
        RunConfig, None, ["--bootstrap.methods", "[star_dpo, bradley_terry]", "--bootstrap.iterations", "2"]
    )
    rows = plan_rounds(config, 101)
    assert [(row.method, row.iteration, row.pairs) for row in rows] == [
        ("star_dpo", 1, 51), ("star_dpo", 2, 50), ("bradley_terry", 1, 101),
    ]  # fmt: skip
    assert rows[0].traces_sampled == 2 * 51 * config.bootstrap.samples_per_order
    assert rows[2].steps_at_most == -(-101 * 2 // 32)
