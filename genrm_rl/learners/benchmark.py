"""How fast the learner is, as ratios inside one run: against a plain PyTorch loop, packed against padded, and with each
prompt computed once against once for each of its answers.

Both sides of a ratio run in alternation in the same process with the same threads, and medians are compared, so that a
machine whose speed moves with its load moves both sides alike.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from genrm_rl.config.data import SourceConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.examples import SequenceExample
from genrm_rl.learners.learner import Learner
from genrm_rl.learners.network import parameter_groups
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.learners.packing import Segment
from genrm_rl.models.inspection import inspect_directory

LEARNING_RATE = 1e-6  # small: the weights should not drift while time is taken


@dataclass(frozen=True)
class SpeedRatio:
    """Medians of alternating repeats, in tokens/s (padding not counted), and their ratio ``ours / theirs``."""

    name: str
    ours: str
    theirs: str
    ours_tokens_per_second: float
    theirs_tokens_per_second: float
    repeats: int
    tokens_per_batch: int

    @property
    def ratio(self) -> float:
        """How many times as fast as the other side."""
        return self.ours_tokens_per_second / self.theirs_tokens_per_second


def learner_ratio(
    model_dir: str | Path,
    learner: LearnerConfig,
    *,
    sequences: int = 32,
    length: int = 128,
    target_share: float = 0.5,
    repeats: int = 7,
) -> SpeedRatio:
    """One optimizer step of the learner against a plain loop: transformers' model and loss, torch AdamW, clipping.

    The batch has equal lengths, so neither side pads; the last ``target_share`` of each sequence is trained on.
    """
    examples = random_examples(model_dir, [length] * sequences, target_share)
    ours = Learner(model_dir, learner)
    plain = PlainLoop(model_dir, learner, examples)
    speeds = alternate(
        lambda: ours.step(examples, SupervisedTokens(), learning_rate=LEARNING_RATE), plain.step, repeats
    )
    ours.close()
    return _ratio("learner / plain PyTorch", "learner", "plain PyTorch loop", speeds, sequences * length, repeats)


def packing_ratio(
    model_dir: str | Path, learner: LearnerConfig, lengths: Sequence[int], *, rows: int = 16, repeats: int = 5
) -> SpeedRatio:
    """The same learner on the same sequences: packed, against batches of ``rows`` sequences padded to their longest.

    ``lengths`` are sequence lengths in tokens in their natural order (see :func:`conversation_lengths`).
    """
    examples = random_examples(model_dir, lengths, 0.3)
    packed = Learner(model_dir, learner.model_copy(update={"packing": True}))
    padded = PaddedLearner(model_dir, learner.model_copy(update={"packing": False}))
    padded.rows = rows

    def step_of(chosen: Learner) -> Callable[[], object]:
        return lambda: chosen.step(examples, SupervisedTokens(), learning_rate=LEARNING_RATE)

    speeds = alternate(step_of(packed), step_of(padded), repeats)
    packed.close()
    padded.close()
    return _ratio("packed / padded", "packed", f"{rows} rows padded to the longest", speeds, sum(lengths), repeats)


def sharing_ratio(
    model_dir: str | Path,
    learner: LearnerConfig,
    *,
    questions: int,
    samples: int,
    prompt: int,
    answer: int,
    repeats: int = 5,
) -> SpeedRatio:
    """The same learner on ``samples`` answers to each of ``questions`` prompts: each prompt computed once
    (:mod:`genrm_rl.learners.shared_prompts`), against once with every answer. Lengths in tokens."""
    prompts = random_examples(model_dir, [prompt] * questions, 0.5)
    tails = random_examples(model_dir, [answer] * questions * samples, 0.5)
    examples = [
        SequenceExample.from_completion(prompts[number // samples].input_ids, tail.input_ids)
        for number, tail in enumerate(tails)
    ]
    once, each = Learner(model_dir, learner), Learner(model_dir, learner)
    each.network.shares_prompts = False

    def step_of(chosen: Learner) -> Callable[[], object]:
        return lambda: chosen.step(examples, SupervisedTokens(), learning_rate=LEARNING_RATE)

    speeds = alternate(step_of(once), step_of(each), repeats)
    once.close()
    each.close()
    tokens = len(examples) * (prompt + answer)
    return _ratio("prompts once / with each answer", "once", "with each answer", speeds, tokens, repeats)


class PaddedLearner(Learner):
    """A learner that does what many trainers do: fixed-size batches in the order of the data, padded to the longest."""

    rows = 16

    def _share(self, examples: Sequence[Sequence[Segment]]) -> list[list[int]]:
        order = list(range(len(examples)))
        return [order[start : start + self.rows] for start in range(0, len(order), self.rows)]


class PlainLoop:
    """The loop that anyone would write: transformers' forward with labels, AdamW on float32 weights, clipping.

    With bfloat16 the float32 master weights are copied into the model after each step, as DeepSpeed does.
    """

    def __init__(
        self,
        model_dir: str | Path,
        learner: LearnerConfig,
        examples: Sequence[SequenceExample],
        *,
        learning_rate: float = LEARNING_RATE,
        device: str | None = None,
    ) -> None:
        from transformers import AutoModelForCausalLM

        dtype = torch.bfloat16 if learner.compute_format == "bfloat16" else torch.float32
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="sdpa").to(device)
        self.model.train()
        self.budget, self.max_grad_norm = learner.tokens_per_microbatch, learner.max_grad_norm
        self.shadow = (
            [p.detach().float().requires_grad_() for p in self.model.parameters()] if dtype != torch.float32 else []
        )
        holder = torch.nn.ParameterList(self.shadow) if self.shadow else self.model
        groups = parameter_groups(holder, learner.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=learner.adam_betas, eps=1e-8, fused=True)
        self.ids_BT = torch.tensor([example.input_ids for example in examples], device=device)
        mask_BT = torch.tensor([example.loss_mask for example in examples], device=device)
        self.labels_BT = self.ids_BT.masked_fill(mask_BT == 0, -100)

    def step(self) -> float:
        """One optimizer step, in microbatches of the same token budget; its loss."""
        rows = max(1, self.budget // self.ids_BT.shape[1])
        total = 0.0
        for start in range(0, len(self.ids_BT), rows):
            part = slice(start, start + rows)
            share = len(self.ids_BT[part]) / len(self.ids_BT)
            loss = self.model(input_ids=self.ids_BT[part], labels=self.labels_BT[part], use_cache=False).loss
            (loss * share).backward()
            total += float(loss.detach()) * share
        if self.shadow:
            for master, parameter in zip(self.shadow, self.model.parameters(), strict=True):
                master.grad = parameter.grad.float()
                parameter.grad = None
        trained = self.shadow or list(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(trained, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            for master, parameter in zip(self.shadow, self.model.parameters(), strict=bool(self.shadow)):
                parameter.copy_(master)
        return total


def conversation_lengths(
    path: str | Path, tokenizer_dir: str | Path, *, limit: int = 256, longest: int = 512, shortest: int = 8
) -> list[int]:
    """Token counts of prompt + chosen answer of the first ``limit`` usable rows of a preference file.

    Rows longer than ``longest`` or shorter than ``shortest`` are left out, as a run with that context would do.
    """
    from transformers import AutoTokenizer

    from genrm_rl.preferences.readers import read_rows
    from genrm_rl.preferences.validation import PairReader

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir, local_files_only=True)
    path = Path(path)
    source = SourceConfig(path=path.name)
    lengths: list[int] = []
    reader = PairReader(source)
    for pair in (pair for row in read_rows(source, path.parent) for pair in reader.pairs(row)):
        text = "\n".join([message.content for message in pair.prompt] + [pair.chosen])
        length = len(tokenizer(text, verbose=False)["input_ids"])
        if shortest <= length <= longest:
            lengths.append(length)
        if len(lengths) == limit:
            break
    return lengths


def random_examples(model_dir: str | Path, lengths: Sequence[int], target_share: float) -> list[SequenceExample]:
    """Examples of the given lengths; which tokens they hold does not change the speed."""
    vocabulary = inspect_directory(Path(model_dir)).vocab_size
    rng = random.Random(0)
    examples = []
    for length in lengths:
        ids = [rng.randrange(vocabulary) for _ in range(length)]
        cut = min(length - 1, max(1, round(length * (1 - target_share))))
        examples.append(SequenceExample.from_completion(ids[:cut], ids[cut:]))
    return examples


def alternate(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of both, run in turn; one unmeasured call of each goes first, and the order flips every time."""
    first()
    second()
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for repeat in range(repeats):
        for number, call in ((0, first), (1, second)) if repeat % 2 else ((1, second), (0, first)):
            started = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[number].append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _ratio(name: str, ours: str, theirs: str, seconds: tuple[float, float], tokens: int, repeats: int) -> SpeedRatio:
    return SpeedRatio(name, ours, theirs, tokens / seconds[0], tokens / seconds[1], repeats, tokens)
