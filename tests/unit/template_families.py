"""Chat templates in the shape that each family of models publishes them in, and one small tokenizer for all of them.

The templates lack only what concerns tools. The tokenizer is byte-level with the control tokens of every family, so
that one model of random weights can speak through each template; begin and end of sequence are the family's own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "chat_templates"
MARKS = ("<think>", "</think>")


@dataclass(frozen=True)
class TemplateFamily:
    """``turns_end`` ends an assistant's turn; ``opens`` says that the generation prompt ends inside ``<think>``."""

    bos: str | None
    eos: str
    turns_end: str
    controls: tuple[str, ...]
    opens: bool = False


FAMILIES = {
    "qwen3": TemplateFamily(None, "<|im_end|>", "<|im_end|>", ("<|im_start|>", "<|endoftext|>")),
    "llama31": TemplateFamily(
        "<|begin_of_text|>", "<|eot_id|>", "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>")
    ),
    "gemma": TemplateFamily("<bos>", "<eos>", "<end_of_turn>", ("<start_of_turn>",)),
    "mistral": TemplateFamily("<s>", "</s>", "</s>", ("[INST]", "[/INST]")),
    "deepseek_r1": TemplateFamily(
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        ("<｜User｜>", "<｜Assistant｜>"),
        opens=True,
    ),
}


@functools.cache
def family_tokenizer(name: str, *, special_marks: bool = False) -> PreTrainedTokenizerFast:
    """The tokenizer with the template of a family. ``special_marks``: the marks of thinking are control tokens, as some
    models have them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("\u0120", "A"), ("\u0120", "B")]  # a blank and a letter are one token, as in every large vocabulary
    vocabulary = {token: index for index, token in enumerate([*letters, *("".join(pair) for pair in merges)])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    controls = [
        token
        for each in FAMILIES.values()
        for token in (each.bos, each.eos, each.turns_end, *each.controls)
        if token is not None
    ]
    made.add_special_tokens([AddedToken(token, special=True) for token in dict.fromkeys(["<pad>", *controls])])
    made.add_tokens([AddedToken(mark, special=special_marks) for mark in MARKS])
    family = FAMILIES[name]
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=family.bos, eos_token=family.eos, pad_token="<pad>", chat_template=template
    )
