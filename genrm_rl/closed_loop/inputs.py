"""The pairs and questions of a loop, and how its judges and its policy read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from genrm_rl.alignment.prompts import PromptSets, load_prompts
from genrm_rl.bootstrap.run_data import misfit
from genrm_rl.closed_loop.settings import turn_seed
from genrm_rl.config.loop import LoopConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.preferences.sources import DataSplits, load_sources
from genrm_rl.preferences.types import PreferencePair


@dataclass
class LoopInputs:
    """Loads what a loop begins with, each part once and when it is first asked for: a loop that waits for people, or
    is finished, reads none of it."""

    config: LoopConfig

    @cached_property
    def encoder(self) -> JudgeEncoder:
        """Comparisons as the judges read them."""
        model = self.config.judge.model
        tokenizer = load_tokenizer(resolve_model(model).path)
        return JudgeEncoder.from_config(tokenizer, self.config.judge.judge, model.max_context)

    @cached_property
    def chat(self) -> ChatEncoder:
        """Questions as the policy reads them."""
        policy = self.config.policy
        return ChatEncoder(load_tokenizer(resolve_model(policy.model).path), policy.sampling.chat_template_kwargs)

    @cached_property
    def splits(self) -> DataSplits:
        """The labelled pairs that the loop begins with, and those that are held out."""
        return load_sources(self.config.judge.data, self.config.run.seed, misfit=self.misfit)

    @cached_property
    def misfit(self) -> Callable[[PreferencePair], str | None]:
        """Why a pair does not fit the judges' context, or None."""
        return misfit(self.config.judge, self.encoder)

    def questions(self, turn: int) -> PromptSets:
        """The policy's questions in a turn: the very ones of its alignment."""
        policy = self.config.policy
        room = policy.model.max_context - policy.sampling.max_tokens
        seed, shown = turn_seed(self.config, turn), self.config.judge.judge.show_reference
        return load_prompts(policy.prompts, self.chat, room=room, seed=seed, show_reference=shown)
