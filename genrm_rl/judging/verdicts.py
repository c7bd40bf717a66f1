"""The verdict grammar and its parser: exact, total, and never a guess.

Only text that the judge generated is parsed, so nothing in the two answers can be taken for the verdict. The rules, in
order:

1. ``failed`` and ``deadline`` are JUDGE_FAILED and TIMED_OUT, whatever text came with them.
2. ASCII blanks and line breaks at the end of the text are dropped. What follows the last line feed is the *last line*;
   ASCII blanks around it are dropped. No other character is forgiven (no Unicode spaces, no look-alike letters, no
   other case).
3. A last line that is exactly marker + letter is the verdict. If another line of the text, read by the same rule,
   gives the *other* letter, the judge contradicted itself (or quoted an answer that was written to look like a
   verdict): UNPARSEABLE.
4. A last line of the marker and ``tie``, ``draw``, ``both``, ``equal``, ``neither``, ``none`` or ``C`` is ABSTAINED.
5. Anything else is TRUNCATED if generation ended at its length limit, else UNPARSEABLE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Slot

_BLANKS = " \t\r"
_ABSTENTIONS = frozenset({"tie", "draw", "both", "equal", "neither", "none", "c"})


@dataclass(frozen=True, slots=True)
class VerdictGrammar:
    """How the last line of a judgment is written: ``marker`` followed by one of two ``letters`` (A's, B's).

    A letter includes the blank before it where marker and letter are separated that way in one token (``" A"``).
    """

    marker: str
    letters: tuple[str, str]

    def letter(self, slot: Slot) -> str:
        """The text of the verdict token for ``slot``."""
        return self.letters[0] if slot == "A" else self.letters[1]

    def line(self, slot: Slot) -> str:
        """The whole verdict line for ``slot``."""
        return self.marker + self.letter(slot)

    def read_line(self, line: str) -> Slot | None:
        """The slot that this one line names, if it is exactly a verdict line."""
        bare = line.strip(_BLANKS)
        if bare == self.line("A"):
            return "A"
        return "B" if bare == self.line("B") else None

    def abstains(self, line: str) -> bool:
        """Whether this one line is the marker with a refusal to choose."""
        bare = line.strip(_BLANKS)
        marker = self.marker.rstrip(_BLANKS)
        return bare.startswith(marker) and bare[len(marker) :].strip(_BLANKS).removesuffix(".").lower() in _ABSTENTIONS


class ParsedVerdict(NamedTuple):
    """``rationale`` is what stands before the last line feed; the whole text where there is no verdict line."""

    verdict: Verdict
    rationale: str


def parse_verdict(text: str, finish_reason: str, grammar: VerdictGrammar) -> ParsedVerdict:
    """Read the verdict of a generated judgment. Total: every text gives a :class:`Verdict`, none raises."""
    if finish_reason == "failed":
        return ParsedVerdict(Verdict.JUDGE_FAILED, text)
    if finish_reason == "deadline":
        return ParsedVerdict(Verdict.TIMED_OUT, text)
    rationale, _, last_line = text.rstrip(_BLANKS + "\n").rpartition("\n")
    slot = grammar.read_line(last_line)
    if slot is not None:
        if contradicts(rationale, slot, grammar):
            return ParsedVerdict(Verdict.UNPARSEABLE, text)
        return ParsedVerdict(Verdict.of(slot), rationale)
    if grammar.abstains(last_line):
        return ParsedVerdict(Verdict.ABSTAINED, rationale)
    return ParsedVerdict(Verdict.TRUNCATED if finish_reason == "length" else Verdict.UNPARSEABLE, text)


def contradicts(rationale: str, slot: Slot, grammar: VerdictGrammar) -> bool:
    """Whether a line of ``rationale`` is a verdict line for the other slot."""
    return any(grammar.read_line(line) not in (None, slot) for line in rationale.split("\n"))
