"""Behaviour cloning: the known solutions of training tasks become conversations, and a policy learns its turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.agents.collect import told_episodes
from genrm_rl.agents.demonstrations import Demonstration, ShownTurn, demonstrate
from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.agents.fitting import EXAMPLES_FILE, supervised_fit
from genrm_rl.agents.new_model import make_model
from genrm_rl.agents.turns import ParsedTurn, first_message, shown, written_turn
from genrm_rl.algorithms.openrlhf_adapter import check_openrlhf
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.model import FitConfig
from genrm_rl.environments.catalogue import check_environment, find_environment
from genrm_rl.environments.protocol import Observation
from genrm_rl.errors import ConfigError, DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.learners.examples import SequenceExample, write_examples
from genrm_rl.learners.fit import FitResult
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.runtime.run_directory import RunDirectory


def clone_agent(config: AgentConfig, console: Console) -> Path:
    """Run or continue the job: demonstrations, with ``clone.base`` new a tokenizer and a model of them, with
    ``clone.observations`` a fit on all that is seen, and the fit on the turns.

    Returns the policy's checkpoint. Raises GenRMError before anything expensive if an input is bad, DataError if no
    solution fits into ``model.max_context``.
    """
    spec = find_environment(config.tasks.environment)
    check_environment(spec)
    check_openrlhf()
    if config.acting.style == "react":
        raise ConfigError(
            "acting.style react needs a thought in every turn, and known solutions have none; clone with "
            "acting.style action, or train an instruct model without cloning"
        )
    base = resolve_model(config.model).path if config.clone.base == "model" else None
    with RunDirectory(config) as run:
        run.claim()
        console.print(f"run {run.path}{' (continued)' if run.resumed else ''}: cloning {spec.name}", highlight=False)
        found: list[Demonstration] = []

        def demonstrations() -> list[Demonstration]:
            if not found:
                found.extend([*demonstrate(config, spec), *played_solutions(config)])
            return found

        if base is None:
            base = run.stage("new_model", lambda folder: make_model(folder, demonstrations(), config))
        chat = ChatEncoder(load_tokenizer(base))

        def fit(output: str, start: Path, settings: FitConfig, *, seen_too: bool) -> FitResult:
            def keep(folder: Path) -> dict[str, Any]:
                found = [example_of(each, chat, config, seen_too=seen_too) for each in demonstrations()]
                return _keep(folder, found, config, console)

            examples = run.stage(f"{output}_examples", keep)
            return supervised_fit(config, run, settings, start, examples, output=output, name=output)

        if config.clone.observations:
            fit("reading", base, config.clone.reading, seen_too=True)
            base = run.path / "reading"
        result = fit("policy", base, config.clone.fit, seen_too=False)
        losses = [row["loss"] for row in result.history if "loss" in row]
        policy = run.path / "policy"
        console.print(f"policy: {policy} ({len(result.history)} steps, last loss {losses[-1]:.3f})", highlight=False)
        return policy


def played_solutions(config: AgentConfig) -> list[Demonstration]:
    """The shortest successful episode of each task of ``clone.episodes``, which has the fewest turns in vain, if all of
    its turns follow the grammar. Raises DataError for a run that has no episodes."""
    shortest: dict[str, AgentEpisode] = {}
    for episodes in told_episodes([Path(run) for run in config.clone.episodes], config):
        for episode in episodes:
            known = shortest.get(episode.task_id)
            right = episode.success and episode.format_rate == 1.0
            if right and (known is None or len(episode.turns) < len(known.turns)):
                shortest[episode.task_id] = episode
    return [_as_demonstration(episode) for episode in shortest.values()]


def _as_demonstration(episode: AgentEpisode) -> Demonstration:
    turns = (ShownTurn(Observation(turn.observation, episode.goal, None), turn.action) for turn in episode.turns)
    return Demonstration(episode.task_id, tuple(turns))


def example_of(
    demonstration: Demonstration, chat: ChatEncoder, config: AgentConfig, *, seen_too: bool = False
) -> SequenceExample:
    """One conversation; the loss is taken on the turns of the policy but its slips, each with its end, and with
    ``seen_too`` on all that it sees."""
    acting, turns = config.acting, demonstration.turns
    message = {"role": "user", "content": first_message(turns[0].observation, acting)}
    ids = list(chat.conversation_ids([message], generation=True))
    mask = [0] + [int(seen_too)] * (len(ids) - 1)
    for number, turn in enumerate(turns):
        if number:
            seen = chat.following_ids(shown(turn.observation, acting))
            ids += seen
            mask += [int(seen_too)] * len(seen)
        said = (*chat.text_ids(written_turn(ParsedTurn(turn.action, turn.thought), acting.style)), chat.stop_token_id)
        ids += said
        mask += [int(not turn.slip)] * len(said)
    return SequenceExample(tuple(ids), tuple(mask), demonstration.task_id)


def fitting(examples: Iterable[SequenceExample], max_context: int) -> list[SequenceExample]:
    """Those that the policy's context holds."""
    return [example for example in examples if len(example.input_ids) <= max_context]


def _keep(folder: Path, found: Sequence[SequenceExample], config: AgentConfig, console: Console) -> dict[str, Any]:
    kept = fitting(found, config.model.max_context)
    lengths = sorted(len(example.input_ids) for example in found)
    if not kept:
        raise DataError(
            f"none of {len(found)} known solutions fits into model.max_context {config.model.max_context}: the "
            f"shortest has {lengths[0] if lengths else 0} tokens; raise it, or choose easier tasks (tasks.level)"
        )
    write_examples(folder / EXAMPLES_FILE, kept)
    console.print(
        f"demonstrations: {len(kept)} of {len(found)} fit into {config.model.max_context} tokens "
        f"(median {lengths[len(lengths) // 2]}, longest {lengths[-1]})",
        highlight=False,
    )
    return {"demonstrations": len(found), "kept": len(kept), "tokens": sum(len(each.input_ids) for each in kept)}
