"""The labelling desk: where people say which of two answers is better."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from genrm_rl.config.base import Section, setting

THIRD = 3  # people who have seen a comparison on which two disagreed, by then


class LabellingConfig(Section):
    """Who labels, how much of it twice, and where the page is."""

    annotators: int = setting(1, "people, each with a link of their own", unit="people", free=True, ge=1, le=1000)
    overlap: float = setting(
        0.0, "share of the comparisons that two people label, so that their agreement is known", ge=0, le=1
    )
    disagreement: Literal["third", "leave_out"] = setting(
        "third",
        "what becomes of a comparison on which two people disagree: a third decides (without a majority it is left "
        "out), or it is left out",
    )
    enough: float = setting(
        1.0, "share of the comparisons that must be settled before the desk closes by itself", free=True, gt=0, le=1
    )
    active: bool = setting(
        True, "comparisons of which the judge is unsure, or on which its two orders disagree, come first"
    )
    host: str = setting("127.0.0.1", "address to bind", free=True)
    port: int = setting(8100, "HTTP port; 0: any that is free", free=True, ge=0, le=65535)
    lease: float = setting(
        900.0, "how long a comparison that somebody was shown is kept for them", unit="seconds", free=True, gt=0
    )
    linger: float = setting(
        20.0, "how long the last labels can still be undone, before the desk closes", unit="seconds", free=True, ge=0
    )
    longest_reason: int = setting(2000, "longest reason that a person may give", unit="characters", free=True, ge=1)

    @model_validator(mode="after")
    def _enough_people(self) -> LabellingConfig:
        needed = THIRD if self.disagreement == "third" else 2
        if self.overlap and self.annotators < needed:
            third = ", or disagreement to leave_out" if self.annotators == 2 else ""
            raise ValueError(
                f"overlap {self.overlap:g} with disagreement {self.disagreement} needs {needed} people, and annotators "
                f"is {self.annotators}; raise it{third}, or set overlap to 0"
            )
        return self


class LabelConfig(Section):
    """Everything that ``label`` needs."""

    desk: LabellingConfig = setting(LabellingConfig, "the desk")
    seed: int = setting(0, "seed of the sides, of what is labelled twice, and of the order", ge=0)
