"""What the tiny base can do before any preference training: accuracy of its answers and of its judgments.

These are the figures of the model card (``python jobs/pretrain_tiny.py --evaluate FOLDER``), measured with plain
transformers. No engine and no judge code takes part, so that they can serve as an outside check of both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from genrm_rl.preferences.types import PreferencePair
from genrm_rl.preferences.world.documents import comparison_text
from genrm_rl.preferences.world.families import FAMILIES, Length
from genrm_rl.preferences.world.pairs import questions, world_pairs
from genrm_rl.preferences.world.style import verify

MAX_NEW_TOKENS = 128
CAREFUL_START = "work: "
TEST_SETS = ("id", "id_neutral", "long_neutral", "family_neutral", "style_reversed")
_BATCH = 256


def measure_base(folder: Path, *, pairs: int, cue: float, seed: int) -> Iterator[dict[str, object]]:
    """Yield one row of figures per measurement, as it is made; ``pairs`` per test set, each judged in both orders."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for length in ("short", "long"):
        for greedy in (False, True):
            yield measure_answers(model, tokenizer, pairs, length, greedy=greedy, seed=seed)
    for name in TEST_SETS:
        for greedy, start in ((False, ""), (True, ""), (False, CAREFUL_START), (True, CAREFUL_START)):
            sample = list(world_pairs(name, pairs, seed, cue=cue))
            yield measure_judge(model, tokenizer, name, sample, form="judge", start=start, greedy=greedy, seed=seed)
    sample = list(world_pairs("id", pairs, seed, cue=cue))
    yield measure_judge(model, tokenizer, "id", sample, form="pick", start="", greedy=False, seed=seed)
    yield measure_judge(model, tokenizer, "id", sample, form="why", start="", greedy=False, seed=seed)


def measure_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, n: int, length: Length, *, greedy: bool, seed: int
) -> dict[str, object]:
    """Share of plain questions answered rightly, in all and per family."""
    asked = list(questions("test", n, seed, length=length))
    answers = complete(model, tokenizer, asked, greedy=greedy, seed=seed)
    right = [verify(question, answer) for question, answer in zip(asked, answers, strict=True)]
    per_family = {
        family: _mean([ok for question, ok in zip(asked, right, strict=True) if question.startswith(family)])
        for family in FAMILIES
    }
    return {
        "what": "answers",
        "set": length,
        "decoding": _decoding(greedy),
        "n": n,
        "accuracy": _mean(right),
        **per_family,
    }


def measure_judge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    pairs: Sequence[PreferencePair],
    *,
    form: str,
    start: str,
    greedy: bool,
    seed: int,
) -> dict[str, object]:
    """Accuracy over both orders (a judgment without a verdict is wrong), and how the traces came about.

    ``form`` is the first word of the compact prompt: judge, pick or why (told the recorded label). ``start`` forces the
    beginning of every completion.
    """
    prompts, labels = [], []
    for pair in pairs:
        for swapped in (False, True):
            shown, label = pair.comparison(swapped=swapped), pair.label(swapped=swapped)
            head = f"why {label}" if form == "why" else form
            prompts.append(f"{head} {comparison_text(shown.prompt[0].content, shown.response_a, shown.response_b)}")
            labels.append(label)
    traces = complete(model, tokenizer, prompts, start=start, greedy=greedy, seed=seed)
    verdicts = [read_verdict(trace) for trace in traces]
    right = [verdict == label for verdict, label in zip(verdicts, labels, strict=True)]
    per_family = {
        category: _mean([ok for i, ok in enumerate(right) if pairs[i // 2].category == category])
        for category in dict.fromkeys(pair.category for pair in pairs)
    }
    return {
        "what": form + (" (careful)" if start else ""),
        "set": name,
        "decoding": _decoding(greedy),
        "n": len(pairs),
        "accuracy": _mean(right),
        "position_consistent": _mean([a and b for a, b in zip(right[::2], right[1::2], strict=True)]),
        "parsed": _mean([verdict is not None for verdict in verdicts]),
        "first_position": _mean([verdict == "A" for verdict in verdicts]),
        "careful_traces": _mean([trace.startswith(CAREFUL_START) for trace in traces]),
        "mean_tokens": round(sum(len(tokenizer(trace)["input_ids"]) + 1 for trace in traces) / len(traces), 1),
        **per_family,
    }


def read_verdict(trace: str) -> str | None:
    """The letter of a last line that is exactly a verdict, else None."""
    last = trace.rsplit("\n", 1)[-1]
    return last[-1] if last in ("verdict: A", "verdict: B") else None


@torch.inference_mode()
def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    start: str = "",
    greedy: bool,
    seed: int,
) -> list[str]:
    """One completion per user turn, at temperature 1 or greedily; ``start`` is forced and included."""
    torch.manual_seed(random.Random(seed).getrandbits(32))
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        + start
        for prompt in prompts
    ]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    completions = [""] * len(texts)
    for first in range(0, len(order), _BATCH):
        chunk = order[first : first + _BATCH]
        batch = tokenizer([texts[i] for i in chunk], padding=True, padding_side="left", return_tensors="pt")
        decoding = (
            {"do_sample": False, "temperature": None} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0}
        )
        output = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=MAX_NEW_TOKENS,
            **decoding,
        )
        for i, ids in zip(chunk, output[:, batch["input_ids"].shape[1] :], strict=True):
            completions[i] = start + tokenizer.decode(ids, skip_special_tokens=True)
    return completions


def _decoding(greedy: bool) -> str:
    return "greedy" if greedy else "sampled"


def _mean(values: Sequence[bool]) -> float:
    return round(sum(values) / max(1, len(values)), 4)
