"""A language model as the policy of an episode: each turn is one request to the engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from genrm_rl.agents.transcript import TurnTokens
from genrm_rl.agents.turns import UNREADABLE, ParsedTurn, first_message, parse_turn, shown, written_turn
from genrm_rl.config.agents import ActingConfig
from genrm_rl.environments.episodes import MakePolicy, Policy
from genrm_rl.environments.protocol import Environment, Observation, Task
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.requests import derive_seed

Generate = Callable[[GenerationRequest], GenerationResult]


@dataclass(frozen=True, slots=True)
class PlayedTurn:
    """What the policy wrote, and its tokens. ``parsed`` is None for a turn that does not follow the grammar."""

    text: str
    parsed: ParsedTurn | None
    tokens: TurnTokens


@dataclass
class Playing:
    """One episode in play. ``stopped`` says why the policy has no further turn: ``context_full``, ``not_generated``."""

    turns: list[PlayedTurn] = field(default_factory=list)
    messages: list[dict[str, str]] = field(default_factory=list)
    length: int = 0  # tokens of the conversation so far
    stopped: str = ""


@dataclass
class Player:
    """Plays episodes with the weights that ``generate`` serves; what it wrote is in ``played``, by (task, seed).

    ``purpose`` and the episode's seed name a request, so that it is the same in every life of a run.
    """

    generate: Generate
    chat: ChatEncoder
    acting: ActingConfig
    max_context: int
    purpose: str
    greedy: bool = False
    played: dict[tuple[str, int], Playing] = field(default_factory=dict)

    def maker(self) -> MakePolicy:
        """For `play_episode` and `play_many`."""

        def make(environment: Environment, task: Task, seed: int) -> Policy:
            playing = self.played[task.task_id, seed] = Playing()
            return lambda observation: self.act(playing, task, seed, observation)

        return make

    def act(self, playing: Playing, task: Task, seed: int, observation: Observation) -> str | None:
        """The next action; None when there is no room for one, or no answer."""
        context, restart = self._context(playing, observation)
        whole = len(context) if restart else playing.length + len(context)
        if whole + self.acting.max_tokens > self.max_context:
            playing.stopped = "context_full"
            return None
        prompt = context if restart else (*self._so_far(playing), *context)
        result = self.generate(self._request(prompt, task, seed, len(playing.turns)))
        if result.finish_reason not in ("stop", "length") or not result.token_ids:
            playing.stopped = "not_generated"
            return None
        text = self.chat.answer_text(result.token_ids)
        parsed = parse_turn(text, self.acting.style) if result.finish_reason == "stop" else None
        logprobs = result.sampled_logprobs_T
        tokens = TurnTokens(context, restart, result.token_ids, logprobs, result.weight_version)
        playing.turns.append(PlayedTurn(text, parsed, tokens))
        playing.length = whole + len(result.token_ids)
        return UNREADABLE if parsed is None else parsed.action

    def _context(self, playing: Playing, observation: Observation) -> tuple[tuple[int, ...], bool]:
        """What comes before the next turn, and whether it begins the conversation anew."""
        if not playing.turns:
            playing.messages = [{"role": "user", "content": first_message(observation, self.acting)}]
            return self.chat.conversation_ids(playing.messages, generation=True), True
        last, seen = playing.turns[-1], shown(observation, self.acting)
        if self.acting.thoughts == "keep":
            ended = last.tokens.token_ids[-1] == self.chat.stop_token_id
            closing = () if ended else (self.chat.stop_token_id,)
            return (*closing, *self.chat.following_ids(seen)), False
        said = last.text if last.parsed is None else written_turn(ParsedTurn(last.parsed.action), "action")
        playing.messages += [{"role": "assistant", "content": said}, {"role": "user", "content": seen}]
        return self.chat.conversation_ids(playing.messages, generation=True), True

    def _so_far(self, playing: Playing) -> Iterator[int]:
        for turn in playing.turns:
            yield from turn.tokens.context_ids
            yield from turn.tokens.token_ids

    def _request(self, prompt: tuple[int, ...], task: Task, seed: int, turn: int) -> GenerationRequest:
        return GenerationRequest(
            request_id=f"{self.purpose}/{task.task_id}/{seed}/{turn}",
            prompt_token_ids=prompt,
            max_tokens=self.acting.max_tokens,
            temperature=0.0 if self.greedy else self.acting.temperature,
            top_p=1.0,
            seed=derive_seed(seed, self.purpose, task.task_id, turn),
            stop_token_ids=(self.chat.stop_token_id,),
            sampled_logprobs=not self.greedy,
        )
