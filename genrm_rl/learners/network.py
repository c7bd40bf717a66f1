"""The network that a learner trains: a causal language model, with a scalar head instead of its output head or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import ModelError
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.attention import PACKED, SPLIT, choose_attention, segment_arguments
from genrm_rl.learners.checkpoint import SCORE_HEAD_FILE, SCORE_HEAD_KEY
from genrm_rl.learners.shared_prompts import Branches
from placement.memory import LOGIT_PIECE

# Gemma caps its logits; Granite, Cohere and Falcon-H1 scale theirs.
AFTER_THE_HEAD = ("final_logit_softcapping", "logits_scaling", "logit_scale", "lm_head_multiplier")
HeadKind = Literal["language", "score", "points"]


class ScoreHead(nn.Linear):
    """Hidden state -> one number, in float32: a bfloat16 score of 8 would move in steps of 1/16."""

    def __init__(self, hidden_size: int, seed: int = 0) -> None:
        super().__init__(hidden_size, 1, bias=False)
        with torch.no_grad():
            # OpenRLHF's scale for reward heads; an own generator, so that every worker draws the same numbers.
            generator = torch.Generator().manual_seed(seed)
            self.weight.copy_(torch.randn(1, hidden_size, generator=generator) / (hidden_size + 1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden.float(), self.weight.float()).squeeze(-1)


class TrainedNetwork(nn.Module):
    """Language model plus optional score head; ``forward`` maps the tensors of a ``TokenBatch`` to taken outputs.

    With ``points`` the scores are expected numbers: of the language model's own next token, among the numbers of a
    scale.
    """

    def __init__(self, language: nn.Module, score_head: ScoreHead | None, points: PointTokens | None = None) -> None:
        super().__init__()
        self.language = language
        self.score_head = score_head
        self.points = points
        implementation = language.config._attn_implementation
        self.told_segments, self.shares_prompts = implementation in PACKED, implementation == SPLIT
        if score_head is not None and not getattr(language.config, "tie_word_embeddings", False):
            # The output head gets no gradient here; ZeRO would wait for one.
            language.get_output_embeddings().weight.requires_grad_(False)

    def forward(
        self,
        input_ids_RT: torch.Tensor,
        position_ids_RT: torch.Tensor,
        attention_mask_RT: torch.Tensor | None,
        take_N: torch.Tensor,
        targets_N: torch.Tensor,
        lengths: tuple[int, ...] | None,
        branches: Branches = (),
        temperature: float = 1.0,
        entropy: bool = False,
        support_NK: torch.Tensor | None = None,
        top_k: int = 0,
        exact: bool = False,
    ) -> tuple[torch.Tensor | None, ...]:
        """Log-probabilities of the targets at ``temperature``, or scores, at the taken positions [N], in float32.

        The second value marks positions whose most likely token is the target; the third is the entropy of the
        positions' distributions if it is asked for; the fourth are log-probabilities [N, K] of the tokens
        ``support_NK``, or of the ``top_k`` most likely ones, which are the fifth. What is not asked for is None, and
        for scores all but the first. ``exact`` computes the logits themselves in float32. Plain tensors go in and out,
        because ZeRO-3's hooks look into nothing else.
        """
        kwargs: dict[str, Any] = {
            "input_ids": input_ids_RT,
            "position_ids": position_ids_RT,
            "attention_mask": attention_mask_RT,
            "use_cache": False,
        }
        if self.told_segments and lengths is not None:
            kwargs |= segment_arguments(lengths, input_ids_RT.device) | {"segment_branches": branches}
        if self.score_head is not None:
            hidden_RTH = self.language.get_decoder()(**kwargs).last_hidden_state
            return self.score_head(hidden_RTH.flatten(0, 1)[take_N]), None, None, None, None
        read = partial(self._read, temperature=temperature, entropy=entropy, top_k=top_k, exact=exact)
        rows = max(1, LOGIT_PIECE // self.language.config.vocab_size)
        if len(take_N) <= rows or not head_is_last(self.language.config):
            return read(lambda: self._logits(kwargs, take_N), targets_N, support_NK)
        hidden_NH = self.language.get_decoder()(**kwargs).last_hidden_state.flatten(0, 1)[take_N]
        return self._in_pieces(read, hidden_NH, targets_N, support_NK, rows)

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Inside, the language model is the one that was loaded: its LoRA is switched off."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [module for module in self.language.modules() if isinstance(module, BaseTunerLayer)]
        try:
            for layer in layers:
                layer._disable_adapters = True  # enable_adapters() sets requires_grad too, which DeepSpeed has read
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False

    def _in_pieces(
        self,
        read: Callable[..., tuple[torch.Tensor | None, ...]],
        hidden_NH: torch.Tensor,
        targets_N: torch.Tensor,
        support_NK: torch.Tensor | None,
        rows: int,
    ) -> tuple[torch.Tensor | None, ...]:
        """What ``read`` finds, of ``rows`` positions at a time: their logits are made again in the backward pass, so
        that never more of them exist at once. 16k positions of a vocabulary of 128k would be 32 GB otherwise."""
        head = self.language.get_output_embeddings()

        def piece(part: slice) -> tuple[torch.Tensor | None, ...]:
            support = None if support_NK is None else support_NK[part]
            return read(lambda: head(hidden_NH[part]), targets_N[part], support)

        parts = (slice(start, start + rows) for start in range(0, len(hidden_NH), rows))
        columns = zip(*(checkpoint(piece, part, use_reentrant=False) for part in parts), strict=True)
        return tuple(None if column[0] is None else torch.cat(column) for column in columns)

    def _read(
        self,
        logits: Callable[[], torch.Tensor],
        targets_N: torch.Tensor,
        support_NK: torch.Tensor | None,
        *,
        temperature: float,
        entropy: bool,
        top_k: int,
        exact: bool,
    ) -> tuple[torch.Tensor | None, ...]:
        """The five results of :meth:`forward` at N positions, from their logits [N, V]."""
        with self._exact_head() if exact or self.points is not None else nullcontext():
            logits_NV = logits()
        if self.points is not None:
            return expected_points(logits_NV, self.points), None, None, None, None
        if temperature != 1.0:
            logits_NV = logits_NV.float() / temperature
        # Imported late: OpenRLHF's losses pull in DeepSpeed, which the scorer's process has no other use for.
        from genrm_rl.algorithms.objectives import logprobs_at, token_entropy, token_logprobs

        correct_N = logits_NV.detach().argmax(-1) == targets_N
        entropy_N = token_entropy(logits_NV.detach()) if entropy else None
        likely_NK = logits_NV.detach().topk(min(top_k, logits_NV.shape[-1]), -1).indices if top_k else None
        wanted_NK = likely_NK if top_k else support_NK
        found_NK = None if wanted_NK is None else logprobs_at(logits_NV, wanted_NK)
        return token_logprobs(logits_NV, targets_N), correct_N, entropy_N, found_NK, likely_NK

    @contextmanager
    def _exact_head(self) -> Iterator[None]:
        """Inside, the output head multiplies in float32. It stays the module that ZeRO-3 gathers the weights for."""
        head = self.language.get_output_embeddings()
        plain = head.forward
        bias = None if head.bias is None else head.bias.float()
        head.forward = lambda hidden: F.linear(hidden.float(), head.weight.float(), bias)
        try:
            yield
        finally:
            head.forward = plain

    def _logits(self, kwargs: dict[str, Any], take_N: torch.Tensor) -> torch.Tensor:
        """Logits [N, V] of the taken positions only: the output head is the dearest layer of a small model."""
        rows, width = kwargs["input_ids"].shape
        if rows == 1:
            return self.language(**kwargs, logits_to_keep=take_N).logits[0]
        column_N = take_N % width
        first = int(column_N.min())
        logits_RKV = self.language(**kwargs, logits_to_keep=width - first).logits
        return logits_RKV[take_N // width, column_N - first]


def head_is_last(config: Any) -> bool:
    """True if a model's logits are what its output head gives; some scale or cap them afterwards."""
    return all(getattr(config, name, None) in (None, 1, 1.0) for name in AFTER_THE_HEAD)


def expected_points(logits_NV: torch.Tensor, points: PointTokens) -> torch.Tensor:
    """Expected number [N] of each row, in float32: the softmax over the number tokens alone, times what they are
    worth."""
    logits_NK = logits_NV[:, list(points.ids)].float()
    return logits_NK.softmax(-1) @ torch.tensor(points.values, device=logits_NK.device)


def load_network(
    model_dir: str | Path,
    config: LearnerConfig,
    *,
    head: HeadKind,
    seed: int = 0,
    points: PointTokens | None = None,
) -> TrainedNetwork:
    """Load a checkpoint in HF layout (safetensors only, no remote code) and put the head on it.

    A ``score_head.safetensors`` beside the weights is loaded when ``head`` is "score"; else the head starts from
    ``seed``. ``points`` are the numbers of the head "points" (ValueError without them). Raises ModelError if the
    directory is incomplete.
    """
    if (head == "points") != (points is not None):
        raise ValueError("the head `points`, and no other one, needs the numbers of a scale")
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from genrm_rl.models.inspection import inspect_directory

    inspect_directory(Path(model_dir))
    disable_progress_bar()
    language = AutoModelForCausalLM.from_pretrained(
        str(model_dir),
        dtype=torch.bfloat16 if config.compute_format == "bfloat16" else torch.float32,
        attn_implementation=choose_attention(config.attention, packed=config.packing, precision=config.compute_format),
        use_safetensors=True,
        local_files_only=True,
    )
    if config.packing and config.attention == "eager":
        raise ModelError("learner.attention eager can't keep packed sequences apart; set learner.packing to off")
    if config.gradient_checkpointing:
        language.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora_rank:
        add_lora(language, rank=config.lora_rank, alpha=config.lora_alpha)
    score_head = load_score_head(model_dir, language.config.hidden_size, seed) if head == "score" else None
    return TrainedNetwork(language, score_head, points)


def load_score_head(model_dir: str | Path, hidden_size: int, seed: int = 0) -> ScoreHead:
    """The saved score head of a checkpoint, or a fresh one if it has none."""
    from safetensors.torch import load_file

    head = ScoreHead(hidden_size, seed)
    path = Path(model_dir) / SCORE_HEAD_FILE
    if path.is_file():
        saved = load_file(path)
        if set(saved) != {SCORE_HEAD_KEY} or saved[SCORE_HEAD_KEY].shape != head.weight.shape:
            raise ModelError(f"{path} does not hold a score head of width {hidden_size}; train the scalar model again")
        with torch.no_grad():
            head.weight.copy_(saved[SCORE_HEAD_KEY])
    return head


def add_lora(language: nn.Module, *, rank: int, alpha: float) -> None:
    """Put LoRA on every linear layer inside the blocks, in place; all other weights are frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM"), language
    )


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only; norms and biases (one axis) have none."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    # Under ZeRO-3 a parameter is an empty placeholder; its true shape is kept in ds_shape.
    axes = [len(getattr(parameter, "ds_shape", parameter.shape)) for parameter in trainable]
    return [
        {
            "params": [p for p, n in zip(trainable, axes, strict=True) if n >= 2],
            "weight_decay": weight_decay,
        },
        {"params": [p for p, n in zip(trainable, axes, strict=True) if n < 2], "weight_decay": 0.0},
    ]
