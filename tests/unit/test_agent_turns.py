"""What an agent is shown, how its turns are read, and the tokens that a learner gets of an episode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from transformers import AutoTokenizer

from genrm_rl.agents.cloning import example_of
from genrm_rl.agents.demonstrations import Demonstration, ShownTurn, demonstrate
from genrm_rl.agents.player import Player, Playing
from genrm_rl.agents.transcript import TurnTokens, stretches
from genrm_rl.agents.turns import UNREADABLE, first_message, parse_turn, shown, written_turn
from genrm_rl.config.agents import ActingConfig, AgentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.environments.catalogue import find_environment
from genrm_rl.environments.protocol import Admissible, Observation, Task
from genrm_rl.generation import GenerationResult
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.learners.packing import collate
from genrm_rl.models.resolve import TINY

TASK = Task("shop", "train", "all", 0)
SEEN = [Observation(text, "get it", None) for text in ("a hall.", "a door.", "the end.")]


@pytest.fixture(scope="module")
def chat() -> ChatEncoder:
    return ChatEncoder(AutoTokenizer.from_pretrained(TINY))


@pytest.mark.parametrize(
    ("text", "style", "action"),
    [
        ("Action: go north", "action", "go north"),
        ("Action: go north \n", "action", "go north"),
        ("Action:go north", "action", None),
        ("go north", "action", None),
        ("Action: go\nAction: north", "action", None),
        ("Thought: hm\nAction: go", "action", None),
        ("Action:  ", "action", None),
        ("Thought: the door\nis shut\nAction: open door", "react", "open door"),
        ("Action: open door", "react", None),
        ("Thought: \nAction: open door", "react", None),
        ("Thought: a\nAction: b\nAction: c", "react", None),
        ("Thought: a\nAction: b\nmore", "react", None),
    ],
)
def test_a_turn_is_read_by_an_exact_grammar(text, style, action):
    found = parse_turn(text, style)
    assert (found and found.action) == action
    if found is not None:
        assert parse_turn(written_turn(found, style), style) == found


def test_an_observation_is_cut_and_lists_actions_only_as_far_as_asked():
    seen = Observation("x" * 100, "goal", Admissible(("open", "shut"), (("search[", "]"),)))
    assert shown(seen, ActingConfig(max_observation=50)) == f"{'x' * 50} [cut]"
    assert shown(seen, ActingConfig(show_actions=2)).endswith("\nActions: search[...]; open")
    assert first_message(seen, ActingConfig()).startswith("goal\nAnswer with Action: ...\n\n")


def answers(*texts: str, chat: ChatEncoder, reasons: tuple[str, ...] = ()):
    """An engine that writes these texts, one a turn, and remembers its prompts."""
    prompts, left = [], list(texts)

    def generate(request):
        prompts.append(request.prompt_token_ids)
        reason = reasons[len(prompts) - 1] if reasons else "stop"
        ids = (*chat.text_ids(left.pop(0)), *((chat.stop_token_id,) if reason == "stop" else ()))
        values = tuple(-0.5 for _ in ids)
        return GenerationResult(request.request_id, ids, "", reason, sampled_logprobs_T=values, weight_version="w")

    return generate, prompts


def conversation(chat: ChatEncoder, *contents: str) -> tuple[int, ...]:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(contents)]
    return chat.conversation_ids(messages, generation=True)


def test_appended_tokens_are_those_of_the_whole_conversation(chat):
    acting = ActingConfig(max_tokens=16)
    generate, prompts = answers("Action: open", "Action: go", "nonsense", chat=chat)
    player, playing = Player(generate, chat, acting, 512, "test"), Playing()
    acted = [player.act(playing, TASK, 7, seen) for seen in SEEN]
    assert acted == ["open", "go", UNREADABLE]
    first = first_message(SEEN[0], acting)
    assert prompts == [
        conversation(chat, first),
        conversation(chat, first, "Action: open", "a door."),
        conversation(chat, first, "Action: open", "a door.", "Action: go", "the end."),
    ]
    (whole,) = stretches([turn.tokens for turn in playing.turns])
    assert (*whole.prompt_ids, *whole.completion_ids) == (*prompts[2], *chat.text_ids("nonsense"), chat.stop_token_id)
    learned = [whole.completion_ids[first:end] for first, end in whole.spans]
    assert learned == [turn.tokens.token_ids for turn in playing.turns]


def test_a_turn_that_was_cut_off_is_ended_by_what_was_observed_not_by_the_policy(chat):
    generate, prompts = answers("Action: op", "Action: go", chat=chat, reasons=("length", "stop"))
    player, playing = Player(generate, chat, ActingConfig(max_tokens=16), 512, "test"), Playing()
    assert player.act(playing, TASK, 7, SEEN[0]) == UNREADABLE
    player.act(playing, TASK, 7, SEEN[1])
    assert prompts[1] == conversation(chat, first_message(SEEN[0], ActingConfig()), "Action: op", "a door.")
    assert chat.stop_token_id not in playing.turns[0].tokens.token_ids


def test_dropped_thoughts_begin_the_conversation_anew_at_each_turn(chat):
    acting = ActingConfig(style="react", thoughts="drop", max_tokens=16)
    generate, prompts = answers("Thought: hm\nAction: open", "Thought: so\nAction: go", chat=chat)
    player, playing = Player(generate, chat, acting, 512, "test"), Playing()
    for seen in SEEN[:2]:
        player.act(playing, TASK, 7, seen)
    assert prompts[1] == conversation(chat, first_message(SEEN[0], acting), "Action: open", "a door.")
    parts = stretches([turn.tokens for turn in playing.turns])
    assert [part.prompt_ids for part in parts] == prompts
    assert [part.first for part in parts] == [0, 1]
    assert parts[1].sampled(1.0, (0.25, 0.75)).turn_shaped == (0.75,)


def test_an_episode_that_fills_the_context_or_gets_no_turn_stops_with_the_reason(chat):
    generate, _ = answers("Action: open", chat=chat, reasons=("failed",))
    player, playing = Player(generate, chat, ActingConfig(max_tokens=16), 512, "test"), Playing()
    assert player.act(playing, TASK, 7, SEEN[0]) is None
    assert playing.stopped == "not_generated"
    short, playing = Player(generate, chat, ActingConfig(max_tokens=16), 40, "test"), Playing()
    assert short.act(playing, TASK, 7, SEEN[0]) is None
    assert playing.stopped == "context_full"


def test_a_demonstration_is_learned_in_the_tokens_that_the_policy_will_see(chat):
    config = AgentConfig()
    turns = tuple(ShownTurn(seen, action) for seen, action in zip(SEEN, ("open", "go", "stop"), strict=True))
    example = example_of(Demonstration("t", turns), chat, config)
    first = first_message(SEEN[0], config.acting)
    prompt = conversation(chat, first, "Action: open", "a door.", "Action: go", "the end.")
    said = (*chat.text_ids("Action: stop"), chat.stop_token_id)
    assert example.input_ids == (*prompt, *said)
    learned = [index for index, mask in zip(example.input_ids, example.loss_mask, strict=True) if mask]
    assert chat.decode(learned) == "Action: openAction: goAction: stop"
    assert learned.count(chat.stop_token_id) == 3
    slipped = (turns[0], replace(turns[1], slip=True), turns[2])
    after = example_of(Demonstration("t", slipped), chat, config)
    learned = [index for index, mask in zip(after.input_ids, after.loss_mask, strict=True) if mask]
    assert after.input_ids == example.input_ids and chat.decode(learned) == "Action: openAction: stop"


def test_a_slip_is_refused_and_the_solution_goes_on_after_it():
    config = load_config(AgentConfig, (), ["--tasks.environment", "shop", "--clone.demonstrations", "6"])
    spec = find_environment("shop")
    clean = demonstrate(config, spec)
    slips = demonstrate(config.model_copy(update={"clone": config.clone.model_copy(update={"slips": 0.5})}), spec)
    assert len(slips) == 6 and not any(turn.slip for each in clean for turn in each.turns)
    for with_slips, without in zip(slips, clean, strict=True):
        done = [turn.action for turn in with_slips.turns if not turn.slip]
        assert done == [turn.action for turn in without.turns], "what is learned is the solution, in its order"
    slipped = [turn for each in slips for turn in each.turns if turn.slip]
    assert slipped and not any(turn.observation.admissible.accepts(turn.action) for turn in slipped)


def test_only_sampled_tokens_of_an_episode_are_taken():
    turns = [
        TurnTokens((1, 2, 3), True, (4, 5), (-0.1, -0.2)),
        TurnTokens((6, 7), False, (8,), (-0.3,)),
    ]
    (whole,) = stretches(turns)
    answer = whole.sampled(0.5)
    assert answer.segment().take.tolist() == [2, 3, 6]
    assert answer.states().take.tolist() == [2, 3, 6, 7]
    batch = collate([answer.segment()], packed=True)
    assert np.asarray(batch.targets_N).tolist() == [4, 5, 8]
    assert answer.turn_lengths() == [2, 1]
