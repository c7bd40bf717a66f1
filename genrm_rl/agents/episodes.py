"""Episodes of a policy as records: what was seen, written and done, with tokens, and their Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genrm_rl.agents.player import PlayedTurn, Playing
from genrm_rl.agents.transcript import TurnTokens
from genrm_rl.environments.episodes import Episode, Turn


@dataclass(frozen=True, slots=True)
class AgentTurn:
    """One turn. ``text`` is what the policy wrote, ``action`` what the environment got; ``follows`` is False for a turn
    that does not follow the grammar."""

    observation: str
    text: str
    action: str
    follows: bool
    tokens: TurnTokens


@dataclass(frozen=True, slots=True)
class AgentEpisode:
    """One episode. ``success`` and ``score`` are None if it has no outcome: the environment failed, or an engine gave
    no turn (``failure`` says what). ``end`` is of the environment, or why the policy stopped."""

    task_id: str
    level: str
    seed: int
    goal: str
    turns: tuple[AgentTurn, ...]
    last: str
    end: str
    success: bool | None
    score: float | None
    failure: str = ""

    @property
    def masked(self) -> bool:
        """Whether nothing is known of how it went."""
        return self.success is None

    @property
    def format_rate(self) -> float | None:
        """Share of its turns that follow the grammar (ReFF's format faithfulness); None without a turn."""
        return sum(turn.follows for turn in self.turns) / len(self.turns) if self.turns else None

    @property
    def tokens(self) -> int:
        """Sampled tokens."""
        return sum(len(turn.tokens.token_ids) for turn in self.turns)


def episode_record(episode: Episode, playing: Playing) -> AgentEpisode:
    """The record of an episode that a `Player` played. A turn that the environment never answered is not part of it."""
    turns = tuple(_turn(done, written) for done, written in zip(episode.turns, playing.turns, strict=False))
    lost = playing.stopped == "not_generated"
    outcome = None if lost else episode.outcome
    return AgentEpisode(
        task_id=episode.task.task_id,
        level=episode.task.level,
        seed=episode.seed,
        goal="" if episode.last is None else episode.last.goal,
        turns=turns,
        last="" if episode.last is None else episode.last.text,
        end=playing.stopped or episode.end,
        success=None if outcome is None else outcome.success,
        score=None if outcome is None else outcome.score,
        failure=episode.failure or ("the engine gave no turn" if lost else ""),
    )


def _turn(done: Turn, written: PlayedTurn) -> AgentTurn:
    return AgentTurn(done.observation.text, written.text, done.action, written.parsed is not None, written.tokens)


def write_episodes(path: Path, episodes: Sequence[AgentEpisode]) -> None:
    """One row per episode, in order; opens with ``datasets``."""
    import pyarrow
    import pyarrow.parquet

    rows = [asdict(episode) for episode in episodes]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_schema()), path)


def read_episodes(path: Path) -> list[AgentEpisode]:
    """What :func:`write_episodes` wrote."""
    import pyarrow.parquet

    found = []
    for row in pyarrow.parquet.read_table(path).to_pylist():
        turns = tuple(AgentTurn(**{**turn, "tokens": _tokens(turn["tokens"])}) for turn in row["turns"])
        found.append(AgentEpisode(**{**row, "turns": turns}))
    return found


def _tokens(row: dict[str, Any]) -> TurnTokens:
    lists = {name: tuple(row[name]) for name in ("context_ids", "token_ids", "logprobs_T")}
    return TurnTokens(**{**row, **lists})


def _schema() -> Any:
    import pyarrow as pa

    tokens = pa.struct(
        [
            ("context_ids", pa.list_(pa.int32())),
            ("restart", pa.bool_()),
            ("token_ids", pa.list_(pa.int32())),
            ("logprobs_T", pa.list_(pa.float64())),
            ("weight_version", pa.string()),
        ]
    )
    turn = pa.struct(
        [
            ("observation", pa.string()),
            ("text", pa.string()),
            ("action", pa.string()),
            ("follows", pa.bool_()),
            ("tokens", tokens),
        ]
    )
    return pa.schema(
        [
            ("task_id", pa.string()),
            ("level", pa.string()),
            ("seed", pa.int64()),
            ("goal", pa.string()),
            ("turns", pa.list_(turn)),
            ("last", pa.string()),
            ("end", pa.string()),
            ("success", pa.bool_()),
            ("score", pa.float64()),
            ("failure", pa.string()),
        ]
    )
