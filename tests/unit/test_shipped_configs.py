"""Every shipped configuration starts: it is loaded up to its first prompt and its first pair.

Hub sets and the sets of ``smollm2_human.yaml`` are small files here, of the same layout and columns, below
``data.root`` and ``prompts.root``, where anybody may keep a copy. In place of models that are not shipped stands the
tokenizer of SmolLM2.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from genrm_rl.alignment.prompts import load_prompts
from genrm_rl.bootstrap.run_data import misfit
from genrm_rl.config import ModelConfig, RunConfig, SourceConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import Section
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.paper import paper_differences, paper_values
from genrm_rl.config.serving import ServeConfig
from genrm_rl.dry_run import paper_table
from genrm_rl.errors import ConfigError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.preferences.sources import load_sources
from tests.unit.judging_cases import smollm2_tokenizer, tiny_tokenizer

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "jobs/configs").glob("*.yaml"))
PRESETS = sorted((ROOT / "placement/presets").glob("*.yaml"))
PAPER = ROOT / "jobs/configs/llama8b_ultrafeedback.yaml"
OVERLAYS = {
    "align_llama8b_judge70b": ("align_llama8b",),
    "agents_shop": ("agents_tiny",),
}  # files that are laid over others
FEW = 12  # pairs or prompts per source
ULTRAFEEDBACK, REWARDBENCH = "HuggingFaceH4/ultrafeedback_binarized", "allenai/reward-bench"


def job_of(file: Path) -> type[Section]:
    """Which command a file is for."""
    keys = set(yaml.safe_load(file.read_text(encoding="utf-8")))
    if "turns" in keys:
        return LoopConfig
    if "tasks" in keys:
        return AgentConfig
    if file.stem.startswith("align") or file in PRESETS:
        return AlignConfig
    return ServeConfig if "serving" in keys else RunConfig


def files_of(file: Path) -> list[Path]:
    """The file with those that it is laid over."""
    if file in PRESETS:
        command = file.read_text(encoding="utf-8").splitlines()[0]
        return [*(ROOT / name for name in re.findall(r"--config (\S+)", command)), file]
    return [*(file.with_stem(below) for below in OVERLAYS.get(file.stem, ())), file]


@pytest.fixture(scope="module")
def copies(tmp_path_factory) -> Path:
    """The folder with small copies of all sets that are named."""
    root = tmp_path_factory.mktemp("sets")
    for number, split in enumerate(("train_prefs", "test_prefs")):
        write_parquet(
            root / ULTRAFEEDBACK / f"data/{split}-00000-of-00001.parquet", map(ultrafeedback_row, numbers(number))
        )
    write_parquet(root / REWARDBENCH / "data/filtered-00000-of-00001.parquet", map(rewardbench_row, numbers(2)))
    for number, split in enumerate(("train", "validation", "test")):
        for name in ("truthfulqa", "hh_harmless", "llmbar", "evalbiasbench"):
            file = root / name / f"{split}.jsonl.gz"
            file.parent.mkdir(exist_ok=True)
            with gzip.open(file, "wt", encoding="utf-8") as handle:
                handle.writelines(json.dumps(plain_row(f"{name} {count}")) + "\n" for count in numbers(number))
    for number, name in enumerate(("pairs", "pairs_test")):
        rows = (json.dumps(plain_row(f"{name} {count}")) + "\n" for count in numbers(number))
        (root / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    return root


def numbers(part: int) -> Iterable[int]:
    return range(1000 * part, 1000 * part + FEW)


def plain_row(subject: object) -> dict[str, object]:
    return {"prompt": f"Tell me about {subject}.", "chosen": f"{subject} is fine.", "rejected": "No idea."}


def ultrafeedback_row(number: int) -> dict[str, object]:
    row = plain_row(number)
    question = {"content": row["prompt"], "role": "user"}
    turns = {side: [question, {"content": row[side], "role": "assistant"}] for side in ("chosen", "rejected")}
    facts = {"prompt_id": str(number), "messages": turns["chosen"], "score_chosen": 8.0, "score_rejected": 3.5}
    return {"prompt": row["prompt"], **turns, **facts}


def rewardbench_row(number: int) -> dict[str, object]:
    return plain_row(number) | {"chosen_model": "x", "rejected_model": "y", "subset": "xstest-should-respond", "id": 1}


def write_parquet(file: Path, rows: Iterable[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), file)


def tokenizer_of(model: ModelConfig) -> PreTrainedTokenizerBase:
    """The shipped model's tokenizer, SmolLM2's for any other chat model."""
    return tiny_tokenizer() if model.name == "tiny" else smollm2_tokenizer()


def few(sources: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
    return tuple(source.model_copy(update={"limit": FEW}) for source in sources)


def first_pairs(config: RunConfig, root: Path) -> None:
    """The data section, with every test set, up to the token ids of a first pair of each side."""
    encoder = JudgeEncoder.from_config(tokenizer_of(config.model), config.judge, config.model.max_context)
    sides = {side: few(getattr(config.data, side)) for side in ("train", "gate", "test")}
    data = config.data.model_copy(update={**sides, "root": str(root)})
    splits = load_sources(data, config.run.seed, misfit=misfit(config, encoder))
    assert len(splits.test) == len(data.test) and data.train
    for pairs in (splits.train, splits.gate, *splits.test.values()):
        assert len(pairs[0].prompt) == 1 and not pairs[0].chosen.startswith("Tell me"), (
            "question and answer are told apart"
        )
        assert encoder.prompt_ids(pairs[0].comparison(), "cot")
    assert not splits.report.refused, splits.report.refused


def first_prompts(config: AlignConfig, root: Path) -> None:
    """The questions of an alignment, and the judge that it would serve."""
    JudgeEncoder.from_config(tokenizer_of(config.judge_model), config.judge, config.judge_model.max_context)
    prompts = config.prompts.model_copy(update={"root": str(root), "world_size": FEW})
    chat = ChatEncoder(tokenizer_of(config.model), config.sampling.chat_template_kwargs)
    room = config.model.max_context - config.sampling.max_tokens
    found = load_prompts(prompts, chat, room=room, seed=config.run.seed)
    assert found.train[0].token_ids and all(test[0].token_ids for test in found.test.values())
    assert not found.removed or found.train, "held-out questions are other ones"


@pytest.mark.parametrize("file", [*CONFIGS, *PRESETS], ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_shipped_configuration_reads_its_first_prompt_and_pair(file, copies):
    files = files_of(file)
    config = load_config(job_of(files[0]), files)
    if isinstance(config, ServeConfig):
        assert config.serving.host == "127.0.0.1"
        assert JudgeEncoder.from_config(tokenizer_of(config.model), config.judge, config.model.max_context)
    if isinstance(config, LoopConfig):
        first_pairs(config.judge, copies)
        first_prompts(config.policy, copies)
    elif isinstance(config, RunConfig):
        first_pairs(config, copies)
    elif isinstance(config, AlignConfig):
        first_prompts(config, copies)


def test_the_papers_config_differs_from_the_paper_only_where_it_says_why():
    config = load_config(RunConfig, PAPER)
    found = {row.setting: row for row in paper_differences(config)}
    assert set(found) == {"judge.orders", "data.gate_fraction"}
    assert all(row.reason for row in found.values())
    console = Console(record=True, width=200)
    console.print(paper_table(config))
    shown = console.export_text()
    assert "differs from the paper" in shown and "position bias" in shown and "NO REASON" not in shown


def test_a_difference_without_a_reason_is_shown_and_a_reason_without_a_difference_refused():
    config = load_config(RunConfig, PAPER, ["--bootstrap.dpo.beta", "0.1"])
    (row,) = (row for row in paper_differences(config) if row.reason is None)
    assert (row.setting, row.paper, row.here) == ("bootstrap.dpo.beta", 1.0, 0.1)
    console = Console(record=True, width=200)
    console.print(paper_table(config))
    assert "NO REASON GIVEN" in console.export_text()
    with pytest.raises(ConfigError, match=r"a reason for judge\.votes, which does not differ"):
        paper_differences(load_config(RunConfig, PAPER, ["--paper-differences", "{judge.votes: cheaper}"]))


def test_every_value_of_the_paper_names_a_setting_and_the_rationaliser_has_a_fit_of_its_own():
    from genrm_rl.config.plan import fit_of

    config = load_config(RunConfig, PAPER)
    assert len(paper_values(config)) > 30
    assert fit_of(config, "star_rationalizer").learning_rate == 2e-5
    assert fit_of(config, "star_sft").learning_rate == 1e-6
