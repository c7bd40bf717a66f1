"""Which questions a policy learns on and is measured on."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from genrm_rl.config.base import Section, setting


class PromptSource(Section):
    """Prompts from the task world, or from files or a data set (docs/data.md)."""

    world: Literal["train", "gate", "test"] | None = setting(None, "partition of the controlled task world")
    length: Literal["short", "long"] = setting("short", "question length (task world)")
    families: tuple[str, ...] = setting((), "task families (task world); empty: all")
    path: str | None = setting(
        None, "files, a folder or a hub id, as in `data` (docs/data.md); relative paths are below `prompts.root`"
    )
    split: str | None = setting(None, "split of a dataset")
    config_name: str | None = setting(None, "configuration of a data set that has several")
    column: str = setting("prompt", "column of the prompt: a string, or messages that end with a user turn")
    reference: str | None = setting(
        None, "column of reference answers (`reward.reference: column`): a text, or a conversation that ends with it"
    )
    rubric: str | None = setting(None, "column of the question's own criteria: a text, or a list (`judge.rubric`)")
    known_answer: str | None = setting(
        None,
        "column of known answers: a verifier compares with them (`reward.verifier_weight`, or source verifier), and "
        "the judge sees them with `judge.show_reference`",
    )
    name: str | None = setting(None, "name in the report; None takes the partition or the file name")
    limit: int | None = setting(None, "at most so many prompts", unit="prompts", ge=1)

    @model_validator(mode="after")
    def _one_origin(self) -> PromptSource:
        if (self.world is None) == (self.path is None):
            raise ValueError("a prompt source has either `world` or `path`; set one of them")
        named = [name for name in ("reference", "rubric", "known_answer") if getattr(self, name)]
        if self.world and named:
            raise ValueError(f"the task world has no columns; leave `{named[0]}` out")
        return self

    @property
    def verifiable(self) -> bool:
        """Whether an answer can be checked without a judge."""
        return self.world is not None or self.known_answer is not None

    @property
    def title(self) -> str:
        """What the report calls it."""
        origin = self.path.rsplit("/", 1)[-1].partition(".")[0] if self.path else f"{self.world}_{self.length}"
        return self.name or origin


class PromptsConfig(Section):
    """Which questions the policy learns on, and which it is measured on."""

    root: str = setting(".", "folder of relative paths")
    train: tuple[PromptSource, ...] = setting(lambda: (PromptSource(world="train"),), "questions to learn on")
    test: tuple[PromptSource, ...] = setting(
        lambda: (PromptSource(world="test"), PromptSource(world="test", length="long")), "held-out questions"
    )
    on_bad_row: Literal["fail", "skip"] = setting(
        "fail", "`fail` names the first rows without a usable prompt and stops; `skip` leaves them out and counts them"
    )
    on_long: Literal["fail", "skip"] = setting(
        "fail", "the same for prompts that do not fit beside sampling.max_tokens in model.max_context"
    )
    world_size: int = setting(20_000, "questions drawn from the task world without a limit", unit="prompts", ge=1)
