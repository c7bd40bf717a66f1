"""A small model of an environment's own: a byte-level BPE of its texts, and a Llama with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrm_rl.agents.demonstrations import Demonstration
from genrm_rl.config.agents import AgentConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END, USER, ASSISTANT = "<pad>", "<s>", "</s>", "<user>", "<assistant>"
VERDICTS = ("Better: A", "Better: B")  # a judge that begins here needs a token for each letter
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}<user>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<assistant>{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('this model knows the roles user and assistant only, not ' + message['role']) }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_model(folder: Path, demonstrations: Sequence[Demonstration], config: AgentConfig) -> dict[str, Any]:
    """Write tokenizer and model into ``folder`` in HF layout; the facts of its manifest. The seed of the weights is the
    run's."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer, clone = make_tokenizer(demonstrations, config.clone.vocabulary), config.clone
    heads = max(1, clone.hidden // 64)
    torch.manual_seed(config.run.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=clone.hidden,
            intermediate_size=64 * round(clone.hidden * 8 / 3 / 64),
            num_hidden_layers=clone.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=config.model.max_context,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"parameters": model.num_parameters(), "vocabulary": len(tokenizer)}


def make_tokenizer(demonstrations: Sequence[Demonstration], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with at most ``size`` tokens, trained on the texts of the demonstrations."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    # Digits stand alone: codes and prices have to be copied.
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BEGIN, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for each in demonstrations for text in (*each.texts(), *VERDICTS))
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
