"""Environments of many turns: where their processes run, how long and large they may get, what their tasks are."""

from __future__ import annotations

from pydantic import field_validator

from genrm_rl.config.base import Section, setting

SIMPLIFICATIONS = (
    "easy",
    "teleportAction",
    "selfWateringFlowerPots",
    "openContainers",
    "openDoors",
    "noElectricalAction",
)


class HostSettings(Section):
    """The processes that environments live in. What is late or too large is ended, and its episode masked."""

    hosts: int = setting(
        2,
        "environments at once, each in an actor of its own; 0: one in this process, without Ray and its deadlines",
        unit="actors",
        free=True,
        ge=0,
    )
    start_deadline: float = setting(180.0, "longest time until an environment is there", unit="s", free=True, gt=0)
    reset_deadline: float = setting(
        300.0, "longest time to begin a task; a cooking game may have to be made first", unit="s", free=True, gt=0
    )
    step_deadline: float = setting(30.0, "longest time for the answer to one action", unit="s", free=True, gt=0)
    memory_limit: float = setting(3.0, "largest environment, its Java process included", unit="GiB", free=True, gt=0)
    java_heap: int = setting(1024, "largest heap of an environment's Java process", unit="MiB", free=True, ge=64)
    failed_starts: int = setting(
        3, "starts in a row that may fail before a host gives up with the reason", unit="starts", free=True, ge=1
    )


class ShopSettings(Section):
    """The synthetic shop."""

    products: int = setting(1000, "products in the catalogue", unit="products", ge=50)
    seed: int = setting(0, "seed of the catalogue and of its goals", ge=0)


class WebShopSettings(Section):
    """A user's own copy of WebShop; nothing of it comes along."""

    root: str = setting("", "folder of the user's checkout of WebShop, with its data", free=True)
    python: str = setting("python3.8", "the Python in which that copy runs", free=True)
    products: int = setting(0, "products that are loaded (its own `num_products`); 0: all", unit="products", ge=0)


class EnvironmentConfig(Section):
    """Everything that environments are made with."""

    host: HostSettings = setting(HostSettings, "processes of the environments")
    cache_dir: str = setting("~/.cache/genrm_rl/games", "where cooking games are kept once they are made", free=True)
    simplifications: str = setting(
        "easy", "ScienceWorld: `easy` or a list such as openDoors,teleportAction; empty: none"
    )
    max_turns: int = setting(0, "longest episode; 0: as the environment says", unit="turns", ge=0)
    shop: ShopSettings = setting(ShopSettings, "the synthetic shop")
    webshop: WebShopSettings = setting(WebShopSettings, "a user's own copy of WebShop")

    @field_validator("simplifications")
    @classmethod
    def _known(cls, value: str) -> str:
        unknown = [name for name in value.split(",") if name and name not in SIMPLIFICATIONS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no simplification; choose of {', '.join(SIMPLIFICATIONS)}")
        return value
