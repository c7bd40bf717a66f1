"""The verdict grammar and its parser: exact, total, and never a guess.

Only text that the judge generated is parsed, so nothing in the two answers can be taken for the verdict. The rules, in
order:

1. ``failed`` and ``deadline`` are JUDGE_FAILED and TIMED_OUT, whatever text came with them.
2. Thinking (``<think>`` at the start of the text, or opened by the chat template) is not spoken: only what follows
   ``</think>`` is read. Thinking that does not end is TRUNCATED_THINKING if generation ended at its length limit, else
   UNPARSEABLE.
3. ASCII blanks and line breaks at the end of the text are dropped. What follows the last line feed is the *last line*;
   ASCII blanks around it are dropped. No other character is forgiven (no Unicode spaces, no look-alike letters, no
   other case).
4. A last line that is exactly marker + letter is the verdict. Where the grammar is ``free``, so are the endings that
   chat models write: bold or a heading (``**Verdict: A**``, ``Verdict: **A**``), a full stop (``Verdict: A.``), the
   ``[[A]]`` of MT-Bench, alone or after words, and ``... Verdict: A`` after the end of a sentence. A line with two
   verdicts, and one inside quotation marks, is none.
5. If another line of the text is a verdict line, by itself, for the *other* letter, the judge contradicted itself (or
   quoted an answer that was written to look like a verdict): UNPARSEABLE. So is an ending that stands, with the words
   before it, in one of the answers: the judge repeats it.
6. A last line of the marker and ``tie``, ``draw``, ``both``, ``equal``, ``neither``, ``none`` or ``C`` is ABSTAINED,
   and TIED where the judge may say so (``judge.ties``).
7. Anything else is TRUNCATED if generation ended at its length limit, else UNPARSEABLE.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Slot

THINK, END_OF_THINKING = "<think>", "</think>"
CLOSERS = "*_.]"  # what may follow the letter in a free ending
_BLANKS = " \t\r"
_ABSTENTIONS = frozenset({"tie", "draw", "both", "equal", "neither", "none", "c"})
_EMPHASIS = r"(?:\*{1,3}|_{1,3})?"
_ECHO = 40  # characters before a verdict line that make it a repetition, if an answer has both; in a line the last word


@dataclass(frozen=True, slots=True)
class VerdictGrammar:
    """How the last line of a judgment is written: ``marker`` followed by one of two ``letters`` (A's, B's).

    A letter includes the blank before it where marker and letter are separated that way in one token (``" A"``).
    ``free`` accepts the other endings of rule 4; ``ties`` makes a verdict of rule 6.
    """

    marker: str
    letters: tuple[str, str]
    free: bool = False
    ties: bool = False

    def letter(self, slot: Slot) -> str:
        """The text of the verdict token for ``slot``."""
        return self.letters[0] if slot == "A" else self.letters[1]

    def line(self, slot: Slot) -> str:
        """The whole verdict line for ``slot``."""
        return self.marker + self.letter(slot)

    def read_line(self, line: str) -> Slot | None:
        """The slot that this one line names, if it is a verdict line and nothing else."""
        bare = line.strip(_BLANKS)
        if bare == self.line("A"):
            return "A"
        if bare == self.line("B"):
            return "B"
        found = _endings(self.marker)[0].fullmatch(bare) if self.free else None
        return None if found is None else _said(found)

    def read_ending(self, line: str) -> tuple[Slot, str] | None:
        """The slot that the end of this line names after other words, and the words; None if it names none."""
        _, after_words, any_verdict = _endings(self.marker)
        found = after_words.fullmatch(line.strip(_BLANKS)) if self.free else None
        if found is None or any_verdict.search(found["words"]) or _in_quotes(found["words"]):
            return None
        said = found["words"].rstrip("*_")
        ends = said.endswith((".", "!", "?", ":", ";", ")")) or (found["box"] and said.endswith((",", " is")))
        return (_said(found), found["words"]) if ends else None

    def abstains(self, line: str) -> bool:
        """Whether this one line is the marker with a refusal to choose."""
        bare = line.strip(_BLANKS)
        if self.free:
            bare = bare.strip("*_.")
            if bare == "[[C]]":
                return True
        marker = self.marker.rstrip(_BLANKS)
        said = bare[len(marker) :].strip(_BLANKS + ("*_[]" if self.free else ""))
        return bare.startswith(marker) and said.removesuffix(".").lower() in _ABSTENTIONS


class ParsedVerdict(NamedTuple):
    """``rationale`` is what stands before the verdict; the whole text where there is none."""

    verdict: Verdict
    rationale: str


def parse_verdict(
    text: str,
    finish_reason: str,
    grammar: VerdictGrammar,
    *,
    answers: Sequence[str] = (),
    thinking: bool = False,
) -> ParsedVerdict:
    """Read the verdict of a generated judgment. Total: every text gives a :class:`Verdict`, none raises.

    ``answers`` are the two that were judged, ``thinking`` says that the prompt ends inside ``<think>``.
    """
    if finish_reason == "failed":
        return ParsedVerdict(Verdict.JUDGE_FAILED, text)
    if finish_reason == "deadline":
        return ParsedVerdict(Verdict.TIMED_OUT, text)
    nothing = ParsedVerdict(Verdict.TRUNCATED if finish_reason == "length" else Verdict.UNPARSEABLE, text)
    if is_thinking(text, thinking):
        return nothing if finish_reason != "length" else ParsedVerdict(Verdict.TRUNCATED_THINKING, text)
    thought, spoken = _thought_and_spoken(text, thinking)
    before, found, last_line = spoken.rstrip(_BLANKS + "\n").rpartition("\n")
    slot, rationale, context = grammar.read_line(last_line), before, _ECHO
    if slot is None:
        ending = grammar.read_ending(last_line)
        if ending is None:
            if not grammar.abstains(last_line):
                return nothing
            return ParsedVerdict(Verdict.TIED if grammar.ties else Verdict.ABSTAINED, thought + before)
        slot, words = ending
        rationale = before + found + last_line[: last_line.index(words)] + words.rstrip(_BLANKS)
        context = len(words.split()[-1])
    if contradicts(before, slot, grammar) or (grammar.free and _repeats(rationale, spoken, context, answers)):
        return ParsedVerdict(Verdict.UNPARSEABLE, text)
    return ParsedVerdict(Verdict.of(slot), thought + rationale)


def contradicts(rationale: str, slot: Slot, grammar: VerdictGrammar) -> bool:
    """Whether a line of ``rationale`` is a verdict line for the other slot."""
    return any(grammar.read_line(line) not in (None, slot) for line in rationale.split("\n"))


def is_thinking(text: str, thinking: bool) -> bool:
    """Whether a text ends while the judge still thinks (``thinking``: its prompt opened the thinking)."""
    return (thinking or text.lstrip().startswith(THINK)) and END_OF_THINKING not in text


def _thought_and_spoken(text: str, thinking: bool) -> tuple[str, str]:
    if not (thinking or text.lstrip().startswith(THINK)):
        return "", text
    thought, end, spoken = text.rpartition(END_OF_THINKING)
    return thought + end, spoken


def _repeats(rationale: str, spoken: str, context: int, answers: Sequence[str]) -> bool:
    """Whether the ending stands in an answer, together with the ``context`` characters before it."""
    start = len(rationale.rstrip(_BLANKS + "\n"))
    tail = spoken[max(0, start - context) :].strip()
    return start > 0 and any(tail in answer for answer in answers)


def _in_quotes(words: str) -> bool:
    """Whether quotation marks or backticks are open where ``words`` end."""
    odd = any(words.count(mark) % 2 for mark in '"`')
    return odd or any(words.count(left) > words.count(right) for left, right in ("\u201c\u201d", "\u00ab\u00bb"))


def _said(found: re.Match[str]) -> Slot:
    return found["marked"] or found["boxed"] or found["box"]  # type: ignore[return-value]


@cache
def _endings(marker: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Free verdicts of one marker: a line of its own, one after words, and any at all."""
    name = re.escape(marker.rstrip(_BLANKS))
    box = r"\[\[(?P<{}>[AB])\]\]"
    verdict = (
        rf"{_EMPHASIS}(?:(?:Final )?{name}{_EMPHASIS} {_EMPHASIS}(?:(?P<marked>[AB])|{box.format('boxed')})"
        rf"|{box.format('box')}){_EMPHASIS}\.?{_EMPHASIS}"
    )
    alone, after_words = rf"(?:#{{1,6}} )?{verdict}", rf"(?P<words>.*\S) +{verdict}"
    return re.compile(alone), re.compile(after_words), re.compile(rf"{name}\W*[AB]\b|\[\[[ABC]\]\]")
