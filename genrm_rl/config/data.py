"""Which preference data, in which layout, and what to do about bad rows."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import model_validator

from genrm_rl.config.base import Section, setting


class ColumnMap(Section):
    """Where the fields of a preference row are found."""

    prompt: str | None = setting(
        "prompt", "prompt column (string or messages); None when the conversations share a prefix"
    )
    chosen: str = setting("chosen", "column of the preferred answer or conversation")
    rejected: str = setting("rejected", "column of the other answer or conversation")
    category: str | None = setting("category", "column of the category, if there is one")
    rubric: str | None = setting(None, "column of the question's own criteria: a text, or a list (`judge.rubric`)")
    known_answer: str | None = setting(None, "column of a right answer, or of a check (`judge.show_reference`)")
    label_source: str | None = setting("label_source", "column of human / ai / verified, if there is one")
    tie: str | None = setting("tie", "column that is true (or says `tie`) where neither answer won, if there is one")
    response_a: str | None = setting(None, "column of the first answer (`layout: labelled`); None: a usual name")
    response_b: str | None = setting(None, "column of the second answer (`layout: labelled`); None: a usual name")
    label: str | None = setting(
        "label", "column that says which answer won (`layout: labelled`), or `tie` where neither did"
    )
    chosen_score: str | None = setting(
        "score_chosen", "column of the preferred answer's score, if there is one; equal scores are a tie"
    )
    rejected_score: str | None = setting("score_rejected", "column of the other answer's score, if there is one")


Layout = Literal[
    "auto", "pair", "shared_prefix", "labelled", "ranked", "sharegpt", "best_of", "rm_bench", "judgebench", "rmb",
    "rmb_best_of", "pandalm", "auto_j", "helpsteer2", "helpsteer3", "ppe_correctness",
]  # fmt: skip


class SourceConfig(Section):
    """One set of pairs: files, a dataset, or the controlled task world."""

    name: str = setting("", "name in tables; empty takes the path's")
    path: str | None = setting(
        None,
        "JSONL, JSON array or Parquet file, a glob, a folder (saved by `datasets`, of shards, or downloaded from the "
        "hub), or a hub id; relative to data.root",
    )
    config_name: str | None = setting(None, "configuration of a data set that has several")
    split: str | None = setting(None, "split of a dataset")
    world: Literal["train", "gate", "id", "id_neutral", "long_neutral", "family_neutral", "style_reversed"] | None = (
        setting(None, "take pairs from the controlled task world instead of a file")
    )
    rationales: str | None = setting(
        None,
        "JSONL file of people's reasons for the rows of `path`: `id` of the row and `rationales`, texts in which "
        "`[chosen]` and `[rejected]` stand for the answers; relative to data.root",
    )
    limit: int | None = setting(None, "at most this many pairs, drawn with the run's seed", unit="pairs", ge=1)
    layout: Layout = setting(
        "auto", "how a row is arranged (docs/data.md); `auto` tells it by the columns of the first row that fits one"
    )
    first_is: Literal[0, 1] | None = setting(
        None, "where labels are numbers, the one of the first answer: 0 (1 second, 2 tie) or 1 (2 second, 0 tie)"
    )
    ranking: Literal["best", "adjacent", "all"] = setting(
        "best", "pairs of a ranked row: the best against each other answer, neighbours, or all"
    )
    columns: ColumnMap = setting(ColumnMap, "column names")
    label_source: Literal["human", "ai", "verified"] = setting("human", "who labelled, where no column says so")

    @model_validator(mode="after")
    def _one_origin(self) -> SourceConfig:
        if (self.path is None) == (self.world is None):
            raise ValueError("a source needs exactly one of `path` and `world`")
        if self.rationales is not None and self.path is None:
            raise ValueError("`rationales` belong to the rows of a `path`, and the task world has none")
        return self

    @property
    def label(self) -> str:
        """The name shown in tables."""
        if self.name:
            return self.name
        bare = str(self.path).strip("/")
        for suffix in (".gz", ".jsonl", ".json", ".parquet"):
            bare = bare.removesuffix(suffix)
        return self.world or re.sub(r"[*?\[\]]+", "", bare).replace("/", "-").strip("-") or "data"


class WorldConfig(Section):
    """The controlled task world (sources with `world:`)."""

    cue: float = setting(
        0.75, "probability that the training style cue sits on the chosen answer; 0.5 is no cue", ge=0, le=1
    )
    label_noise: float = setting(0.0, "share of training labels that are flipped", ge=0, le=0.5)


class DataConfig(Section):
    """Training, gate and test pairs."""

    root: str = setting(".", "folder that relative paths start from")
    train: tuple[SourceConfig, ...] = setting((), "pairs to learn from")
    gate: tuple[SourceConfig, ...] = setting(
        (), "held-out pairs that decide on promotion; empty: cut from train by prompt"
    )
    test: tuple[SourceConfig, ...] = setting((), "test sets; each is a column group of the report")
    gate_fraction: float = setting(
        0.1, "share of the training prompts that becomes the gate when `gate` is empty", gt=0, lt=0.9
    )
    ties: Literal["leave_out", "test", "learn"] = setting(
        "leave_out",
        "rows in which neither answer won: left out and counted; pairs of the test sets; or learned from too, by STaR "
        "methods with `judge.ties`",
    )
    on_bad_row: Literal["fail", "skip"] = setting(
        "fail", "`fail` names the first bad rows and stops; `skip` writes them to a rejects file"
    )
    near_duplicate_threshold: float = setting(
        0.8,
        "Jaccard similarity of prompt word 3-grams from which a training prompt is a copy "
        "of a test prompt; 1.0: exact only",
        gt=0,
        le=1,
    )
    null_negatives: float = setting(
        0.0,
        "further training pairs whose rejected side is a null answer (empty, a lone opener, another prompt's answer, "
        "an imitated verdict, the answer with flattery or an instruction, ...), as a share of the training pairs; "
        "above 1 every pair gets several of different kinds",
        unit="share",
        ge=0,
        le=8,
    )
    world: WorldConfig = setting(WorldConfig, "settings of the controlled task world")
