"""From selected traces and labelled pairs to training examples: what each method learns from (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from genrm_rl.bootstrap.select import Reason, TracePair, TraceSelection
from genrm_rl.config import SelectionConfig
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.types import Trace
from genrm_rl.learners.examples import LabeledExample, PairExample, SequenceExample, VerdictExample
from genrm_rl.preferences.types import Comparison, PreferencePair, Slot, other_slot

Pairs = Mapping[str, PreferencePair]
OWN_NAMES = re.compile(
    r"\b(?:answer|response|assistant|argument|model|option)s?\W{0,2}(?:[ab12]|one|two)\b", re.IGNORECASE
)


def sft_examples(selections: Iterable[TraceSelection], pairs: Pairs, encoder: JudgeEncoder) -> list[SequenceExample]:
    """Kept traces as rationale + verdict targets (Eq. 8). A rationalised trace gets the chain-of-thought prompt,
    without the hint that it was sampled with."""
    examples = []
    for item in selections:
        if item.reason is Reason.KEPT:
            encoded = encoder.trace_example(_comparison(item.trace, pairs), item.trace)
            examples.append(
                SequenceExample.from_completion(
                    encoded.prompt_token_ids, encoded.completion_token_ids, item.trace.trace_id
                )
            )
    return examples


def written_examples(
    pairs: Iterable[PreferencePair], encoder: JudgeEncoder, selection: SelectionConfig
) -> list[SequenceExample]:
    """What people wrote about a pair as rationale + verdict, in both orders: at most ``max_kept_per_order`` of the
    reasons that are no longer than a rationale may be."""
    examples = []
    for pair in pairs:
        for swapped in (False, True):
            label, comparison = pair.label(swapped=swapped), pair.comparison(swapped=swapped)
            told = fitting_reasons(pair, label, encoder)
            for number, reason in enumerate(told[: selection.max_kept_per_order]):
                written = encoder.written_example(comparison, reason, label)
                examples.append(
                    SequenceExample.from_completion(
                        written.prompt_token_ids,
                        written.completion_token_ids,
                        f"{pair.id}-{comparison.order}-person{number}",
                    )
                )
    return examples


def has_reason(pair: PreferencePair, encoder: JudgeEncoder) -> bool:
    """Whether somebody wrote a reason about the pair that fits a rationale; of a tie nobody can say what is better."""
    return not pair.tie and bool(fitting_reasons(pair, "A", encoder))


def fitting_reasons(pair: PreferencePair, label: Slot, encoder: JudgeEncoder) -> list[str]:
    """What was written about the pair, for the order in which ``label`` is the better answer, if no longer than a
    rationale may be."""
    told = told_reasons(pair.rationales, label)
    return [text for text in told if len(encoder.chat.text_ids(text)) <= encoder.max_rationale]


def told_reasons(rationales: Sequence[str], label: Slot) -> list[str]:
    """What annotators wrote, with ``[chosen]`` and ``[rejected]`` as the slots that hold these answers. What numbers or
    names the answers itself is left out: it may mean the other order."""
    named = [text.replace("[chosen]", label).replace("[rejected]", other_slot(label)) for text in rationales]
    return [said for said, text in zip(named, rationales, strict=True) if OWN_NAMES.search(text) is None]


def dpo_examples(trace_pairs: Sequence[TracePair], pairs: Pairs, encoder: JudgeEncoder) -> list[PairExample]:
    """Correct against incorrect trace of the same comparison and order (Eq. 9)."""
    examples = []
    for pair in trace_pairs:
        comparison = _comparison(pair.chosen, pairs)
        chosen, rejected = (
            encoder.trace_example(comparison, pair.chosen),
            encoder.trace_example(comparison, pair.rejected),
        )
        examples.append(
            PairExample.from_completions(
                chosen.prompt_token_ids,
                chosen.completion_token_ids,
                rejected.completion_token_ids,
                f"{pair.chosen.trace_id}>{pair.rejected.trace_id}",
            )
        )
    return examples


def direct_examples(pairs: Iterable[PreferencePair], encoder: JudgeEncoder) -> Iterator[VerdictExample]:
    """The place of the verdict in both orders of every pair (Eq. 7) whose answers the judge is shown as two."""
    for pair in pairs:
        if encoder.indistinct(pair.comparison(), "direct"):
            continue
        shown = pair.comparison(swapped=pair.label() == "B")  # the chosen answer as A
        orders = (encoder.prompt_ids(each, "direct") for each in (shown, shown.swap()))
        yield VerdictExample(*orders, encoder.verdict_token_ids, pair.id)


def bradley_terry_examples(pairs: Iterable[PreferencePair], encoder: JudgeEncoder) -> Iterator[PairExample]:
    """Chosen and rejected conversation, scored at their last token (Eq. 1-2)."""
    for pair in pairs:
        chosen = encoder.conversation_ids(pair.prompt, pair.chosen)
        rejected = encoder.conversation_ids(pair.prompt, pair.rejected)
        yield PairExample(chosen, 1, rejected, 1, pair.id)


def points_examples(pairs: Iterable[PreferencePair], encoder: JudgeEncoder) -> Iterator[PairExample]:
    """Chosen and rejected answer, each in a prompt that asks for its points alone."""
    for pair in pairs:
        shown = pair.comparison(swapped=pair.label() == "B")  # the chosen answer first
        chosen, rejected = encoder.point_ids(shown), encoder.point_ids(shown.swap())
        yield PairExample(chosen, 1, rejected, 1, pair.id)


def pairrm_examples(pairs: Iterable[PreferencePair], encoder: JudgeEncoder) -> Iterator[LabeledExample]:
    """Both answers in one sequence, in both orders; does A win?"""
    for pair in pairs:
        for swapped in (False, True):
            ids, label = encoder.pair_ids(pair.comparison(swapped=swapped)), pair.label(swapped=swapped)
            yield LabeledExample(ids, int(label == "A"), f"{pair.id}-{swapped:d}")


def _comparison(trace: Trace, pairs: Pairs) -> Comparison:
    return pairs[trace.pair_id].comparison(swapped=trace.swapped)
