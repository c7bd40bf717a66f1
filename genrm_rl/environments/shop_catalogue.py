"""A synthetic shop: products and shopping goals that follow from a seed. Names, attributes and prices are made up."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from genrm_rl.environments.protocol import Split, SplitSizes
from genrm_rl.judging.requests import derive_seed

SIZES = SplitSizes(10_000, 200, 500)
BRANDS = ("Alderun", "Brisko", "Cavelle", "Dornby", "Elmira", "Fenlow", "Garvik", "Hollen", "Ivara", "Juneau")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product: its department, what it may be (attributes), what a buyer chooses (options), its prices in
    dollars."""

    department: str
    attributes: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    prices: tuple[int, int]


_COLORS = ("black", "white", "navy blue", "forest green", "burgundy", "sand", "charcoal", "coral")
_SIZES = ("x-small", "small", "medium", "large", "x-large")
_WEAR = ("machine washable", "quick drying", "long lasting", "slim fit", "relaxed fit", "stretchy", "breathable")
_HOME = (
    "easy to clean",
    "space saving",
    "eco friendly",
    "easy to assemble",
    "non slip",
    "heavy duty",
    "stain resistant",
)
_TECH = (
    "wireless",
    "fast charging",
    "water resistant",
    "lightweight",
    "noise cancelling",
    "high resolution",
    "portable",
)
_FOOD = ("gluten free", "sugar free", "non gmo", "low sodium", "plant based", "individually wrapped", "keto friendly")
_CARE = (
    "cruelty free",
    "fragrance free",
    "paraben free",
    "travel size",
    "dermatologist tested",
    "long lasting",
    "vegan",
)
_PACKS = ("1 pack", "2 pack", "4 pack", "8 pack")

KINDS = {
    "hiking jacket": Kind("clothing", _WEAR, {"color": _COLORS, "size": _SIZES}, (30, 160)),
    "linen shirt": Kind("clothing", _WEAR, {"color": _COLORS, "size": _SIZES}, (15, 70)),
    "running shoes": Kind("clothing", _WEAR, {"color": _COLORS, "size": ("7", "8", "9", "10", "11")}, (35, 140)),
    "wool sweater": Kind("clothing", _WEAR, {"color": _COLORS, "size": _SIZES}, (25, 110)),
    "desk lamp": Kind("home", _HOME, {"color": _COLORS}, (12, 80)),
    "storage bench": Kind("home", _HOME, {"color": _COLORS, "width": ("24 inch", "36 inch", "48 inch")}, (40, 220)),
    "area rug": Kind("home", _HOME, {"color": _COLORS, "area": ("3 x 5 ft", "5 x 7 ft", "8 x 10 ft")}, (25, 260)),
    "frying pan": Kind("home", _HOME, {"diameter": ("8 inch", "10 inch", "12 inch")}, (14, 90)),
    "bluetooth speaker": Kind("electronics", _TECH, {"color": _COLORS}, (18, 150)),
    "security camera": Kind("electronics", _TECH, {"set": _PACKS}, (25, 240)),
    "tablet stand": Kind("electronics", _TECH, {"color": _COLORS}, (9, 45)),
    "headphones": Kind("electronics", _TECH, {"color": _COLORS}, (20, 230)),
    "granola bars": Kind("grocery", _FOOD, {"flavor": ("honey", "peanut", "berry", "cocoa"), "set": _PACKS}, (5, 40)),
    "herbal tea": Kind("grocery", _FOOD, {"flavor": ("mint", "ginger", "chamomile", "lemon"), "set": _PACKS}, (4, 35)),
    "trail mix": Kind("grocery", _FOOD, {"weight": ("8 ounce", "16 ounce", "32 ounce")}, (5, 30)),
    "pasta sauce": Kind("grocery", _FOOD, {"flavor": ("basil", "garlic", "arrabbiata"), "set": _PACKS}, (4, 32)),
    "face lotion": Kind("beauty", _CARE, {"volume": ("1 ounce", "2 ounce", "4 ounce")}, (8, 60)),
    "shampoo": Kind("beauty", _CARE, {"scent": ("cedar", "citrus", "lavender"), "volume": ("8 oz", "16 oz")}, (6, 40)),
    "lip balm": Kind("beauty", _CARE, {"flavor": ("vanilla", "cherry", "mint"), "set": _PACKS}, (3, 20)),
    "hand soap": Kind("beauty", _CARE, {"scent": ("cedar", "citrus", "lavender"), "set": _PACKS}, (4, 28)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Product:
    """One product. ``price`` is in dollars; ``code`` names it on the pages."""

    code: str
    kind: str
    title: str
    attributes: frozenset[str]
    options: Mapping[str, tuple[str, ...]]
    price: float

    @property
    def text(self) -> str:
        """What the search reads."""
        return " ".join((self.title, KINDS[self.kind].department, *sorted(self.attributes), *self.choices))

    @property
    def choices(self) -> tuple[str, ...]:
        """Every value of every option; no two options share one."""
        return tuple(value for values in self.options.values() for value in values)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a buyer wants: a kind of product with attributes and options, cheaper than ``price_below`` dollars.

    ``product`` is one that fulfils it; others may.
    """

    product: Product
    attributes: frozenset[str]
    options: frozenset[str]
    price_below: float

    @property
    def words(self) -> str:
        """What a buyer searches for: all that the instruction says but the price."""
        return " ".join([self.product.kind, *sorted(self.attributes), *sorted(self.options)]).lower()

    @property
    def instruction(self) -> str:
        """The goal in words."""
        words = [f"Find me a {self.product.kind} that is {' and '.join(sorted(self.attributes))}"]
        if self.options:
            words.append(f", in {' and '.join(sorted(self.options))}")
        return "".join([*words, f", with a price lower than {self.price_below:.2f} dollars."])


@lru_cache(maxsize=2)
def make_catalogue(products: int, seed: int) -> tuple[Product, ...]:
    """``products`` products that follow from ``seed``."""
    return tuple(_make_product(index, seed) for index in range(products))


def make_goal(catalogue: tuple[Product, ...], split: Split, index: int, seed: int) -> Goal:
    """The ``index``-th goal of a split. Products are dealt to the splits, so that no product is wanted in two."""
    draw = random.Random(derive_seed(seed, "goal", split, index))
    wanted = [product for place, product in enumerate(catalogue) if _split_of(place) == split]
    product = draw.choice(wanted)
    attributes = draw.sample(sorted(product.attributes), draw.randint(1, min(2, len(product.attributes))))
    options = [draw.choice(values) for values in product.options.values() if draw.random() < 0.8]
    margin = draw.choice((1.1, 1.25, 1.5))
    return Goal(product, frozenset(attributes), frozenset(options), round(product.price * margin + 0.5, 0))


def _split_of(place: int) -> Split:
    return "test" if place % 10 == 8 else "validation" if place % 10 == 9 else "train"


def _make_product(index: int, seed: int) -> Product:
    draw = random.Random(derive_seed(seed, "product", index))
    name = draw.choice(sorted(KINDS))
    kind = KINDS[name]
    attributes = draw.sample(kind.attributes, draw.randint(2, 4))
    options = {
        option: tuple(draw.sample(values, draw.randint(min(2, len(values)), len(values))))
        for option, values in kind.options.items()
    }
    shown = " ".join(draw.sample(attributes, draw.randint(1, 2)))  # a title tells not everything
    title = f"{draw.choice(BRANDS)} {shown} {name} {draw.choice(('classic', 'pro', 'plus', 'original', 'essential'))}"
    low, high = kind.prices
    return Product(
        code=f"p{index:05d}",
        kind=name,
        title=title,
        attributes=frozenset(attributes),
        options=options,
        price=round(draw.uniform(low, high), 2),
    )
