"""A web shop of its own: synthetic products, BM25 search, pages to click through, and the published reward.

The task, the actions ``search[words]`` and ``click[what]``, and the reward are those of WebShop (arXiv 2207.01206);
products, pages and code are made here, and nothing of WebShop's is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.protocol import Admissible, Observation, Outcome, Task
from genrm_rl.environments.shop_catalogue import SIZES, Goal, Product, make_catalogue, make_goal

if TYPE_CHECKING:
    import bm25s

LEVELS = {"all": SIZES}
PER_PAGE = 10
FOUND = 50  # products that a search finds at most
LOOKS = 3  # products that a known solution opens in vain, at most
SEARCH = ("search[", "]")
ACTION = re.compile(r"(search|click)\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Page:
    """Where the buyer is. ``results`` are codes of products, best first."""

    name: Literal["search", "results", "product", "description", "bought"] = "search"
    results: tuple[str, ...] = ()
    number: int = 0
    product: Product | None = None
    chosen: tuple[tuple[str, str], ...] = ()


class Shop:
    """One buyer at a time. Draws nothing besides its tasks."""

    def __init__(self, config: EnvironmentConfig) -> None:
        self._seed = config.shop.seed
        self._catalogue = make_catalogue(config.shop.products, config.shop.seed)
        self._products = {product.code: product for product in self._catalogue}
        self._index = search_index(config.shop.products, config.shop.seed)
        self._goal = make_goal(self._catalogue, "train", 0, self._seed)
        self._page, self._outcome = Page(), Outcome(False, 0.0)

    def reset(self, task: Task, seed: int) -> Observation:
        """The buyer stands before an empty search."""
        self._goal = make_goal(self._catalogue, task.split, task.index, self._seed)
        self._page, self._outcome = Page(), Outcome(False, 0.0)
        return self._show()

    def step(self, action: str) -> tuple[Observation, bool]:
        """Over when something is bought."""
        if self._page.name == "bought":
            return self._show(), True
        if not self._admissible().accepts(action):
            page = self._show()
            return replace(page, text=f"That can't be done here.\n{page.text}"), False
        found = ACTION.fullmatch(action)
        assert found is not None
        self._page = self._search(found[2]) if found[1] == "search" else self._click(found[2])
        if self._page.name == "bought":
            assert self._page.product is not None
            score = reward(self._goal, self._page.product, frozenset(value for _, value in self._page.chosen))
            self._outcome = Outcome(score == 1.0, score)
        return self._show(), self._page.name == "bought"

    @property
    def outcome(self) -> Outcome:
        """The reward of what was bought, 0 before."""
        return self._outcome

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...] | None:
        """Search for the words of the wish and buy the first product that fulfils it, as a buyer would who reads prices
        among the results and options on the product's page: one that is cheap enough is opened and left again if it
        lacks an option. Where those words find nothing, search for what the product is called."""
        goal = make_goal(self._catalogue, task.split, task.index, self._seed)
        for words in (goal.words, goal.product.title.lower()):
            bought = self._buy(goal, self._search(words).results)
            if bought is not None:
                return (f"search[{words}]", *bought)
        return None

    def _buy(self, goal: Goal, results: tuple[str, ...]) -> tuple[str, ...] | None:
        actions, number, looks = list[str](), 0, 0
        for place, code in enumerate(results):
            product = self._products[code]
            lacking = not goal.options.issubset(product.choices)
            fulfils = not lacking and reward(goal, product, goal.options) == 1.0
            if not fulfils and not (lacking and product.price <= goal.price_below and looks < LOOKS):
                continue
            actions += ["click[next page]"] * (place // PER_PAGE - number)
            actions.append(f"click[{code}]")
            if fulfils:
                return (*actions, *(f"click[{value}]" for value in sorted(goal.options)), "click[buy now]")
            actions.append("click[back to results]")
            number, looks = place // PER_PAGE, looks + 1
        return None

    def process_ids(self) -> tuple[int, ...]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing is open."""

    def _search(self, words: str) -> Page:
        import bm25s

        tokens = bm25s.tokenize([words], stopwords=None, show_progress=False, return_ids=False)
        places, scores = self._index.retrieve(tokens, k=min(FOUND, len(self._catalogue)), show_progress=False)
        found = zip(places[0].tolist(), scores[0].tolist(), strict=True)
        # Equal scores stand in the order of the catalogue, whatever the library's sort does with them.
        ranked = sorted(((score, place) for place, score in found if score > 0), key=lambda hit: (-hit[0], hit[1]))
        return Page("results", tuple(self._catalogue[place].code for _, place in ranked))

    def _click(self, what: str) -> Page:
        page = self._page
        if what == "back to search":
            return Page()
        if what in ("next page", "previous page"):
            return replace(page, number=page.number + (1 if what == "next page" else -1))
        if page.name == "results":
            return replace(page, name="product", product=self._products[what], chosen=())
        if what == "back to results":
            return replace(page, name="results", product=None, chosen=())
        if what == "back to product":
            return replace(page, name="product")
        if what == "description":
            return replace(page, name="description")
        if what == "buy now":
            return replace(page, name="bought")
        assert page.product is not None
        option = next(name for name, values in page.product.options.items() if what in values)
        return replace(page, chosen=tuple({**dict(page.chosen), option: what}.items()))

    def _clickable(self) -> tuple[str, ...]:
        page = self._page
        if page.name == "results":
            start = page.number * PER_PAGE
            shown = page.results[start : start + PER_PAGE]
            after = ("next page",) if len(page.results) > start + PER_PAGE else ()
            return (*shown, *after, *(("previous page",) if page.number else ()), "back to search")
        if page.name == "product":
            assert page.product is not None
            return (*page.product.choices, "description", "buy now", "back to results", "back to search")
        return ("back to product", "back to search") if page.name == "description" else ()

    def _admissible(self) -> Admissible:
        frames = (SEARCH,) if self._page.name == "search" else ()
        return Admissible(tuple(f"click[{what}]" for what in self._clickable()), frames)

    def _show(self) -> Observation:
        return Observation(self._text(), self._goal.instruction, self._admissible())

    def _text(self) -> str:
        page, product = self._page, self._page.product
        if page.name == "search":
            return "Search the shop."
        if page.name == "results":
            start = page.number * PER_PAGE
            shown = [self._products[code] for code in page.results[start : start + PER_PAGE]]
            lines = [f"{each.code}: {each.title}, ${each.price:.2f}" for each in shown]
            return "\n".join([f"Page {page.number + 1} of {len(page.results)} products found.", *lines])
        assert product is not None
        if page.name == "description":
            return f"{product.title}\nThis {product.kind} is {', '.join(sorted(product.attributes))}."
        chosen = dict(page.chosen)
        options = [
            f"{name}: {', '.join(values)} (chosen: {chosen.get(name, 'none')})"
            for name, values in product.options.items()
        ]
        sold = "Bought." if page.name == "bought" else f"Price: ${product.price:.2f}"
        return "\n".join([product.title, *options, sold])


@lru_cache(maxsize=2)
def search_index(products: int, seed: int) -> bm25s.BM25:
    """BM25 over the texts of the products of a catalogue."""
    import bm25s

    index = bm25s.BM25()
    texts = [product.text.lower() for product in make_catalogue(products, seed)]
    index.index(bm25s.tokenize(texts, stopwords=None, show_progress=False, return_ids=False), show_progress=False)
    return index


def reward(goal: Goal, bought: Product, chosen: frozenset[str]) -> float:
    """The reward of WebShop (arXiv 2207.01206, section 3): the share of wanted attributes and options that the product
    has, and of the price limit, times how well its type fits. In [0, 1]."""
    hits = len(goal.attributes & bought.attributes) + len(goal.options & chosen)
    hits += bought.price <= goal.price_below
    return type_reward(goal.product, bought) * hits / (len(goal.attributes) + len(goal.options) + 1)


def type_reward(wanted: Product, bought: Product) -> float:
    """How well the type fits: 1 for the same kind or titles that share more than a fifth of the wanted one's words, 0.5
    or 0.1 for titles that share less (a tenth is the border), 0 without a shared word."""
    words = set(wanted.title.lower().split())
    shared = len(words & set(bought.title.lower().split())) / len(words)
    if shared == 0.0:
        return 0.0
    if shared < 0.1:
        return 0.1
    return 0.5 if shared <= 0.2 and wanted.kind != bought.kind else 1.0
