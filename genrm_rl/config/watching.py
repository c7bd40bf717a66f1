"""What is watched in a run while it goes on: where the page is, and from where on a number is an alarm."""

from __future__ import annotations

from genrm_rl.config.base import Section, setting


class AlarmConfig(Section):
    """From where on a page says that something is wrong."""

    masked: float = setting(0.1, "share of a step's answers without a reward", ge=0, le=1)
    probe_wins: float = setting(0.05, "share of its judgments that a null answer wins", ge=0, le=1)
    kl: float = setting(0.5, "KL to the starting policy", unit="nats per token", gt=0)
    stall: float = setting(600.0, "time in which a run that goes on writes nothing", unit="seconds", gt=0)
    stall_steps: float = setting(5.0, "the same in steps of mean length; the longer of both counts", unit="steps", gt=0)


class WatchPageConfig(Section):
    """Where the live page is, and how often it looks."""

    host: str = setting("127.0.0.1", "address to bind")
    port: int = setting(8200, "HTTP port; 0: any that is free", ge=0, le=65535)
    every: float = setting(5.0, "time between two looks at the run", unit="seconds", ge=0.2)


class WatchConfig(Section):
    """Everything that ``watch`` needs."""

    page: WatchPageConfig = setting(WatchPageConfig, "the page")
    alarms: AlarmConfig = setting(AlarmConfig, "when the page gives an alarm")
