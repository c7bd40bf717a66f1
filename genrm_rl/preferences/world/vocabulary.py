"""The tiny model's tokenizer: printable characters, and one token for each phrase of the world's documents."""

from __future__ import annotations

import re
import string

from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<user>", "<assistant>")
# "verdict: " must stay apart from the letter after it and from the newline before it: the verdict is one token.
PHRASES = (
    *("add ", "sort ", "count ", "rev ", "max ", " in "),
    *("judge ", "pick ", "why ", "\nA: ", "\nB: "),
    *("work: ", "feel: ", " nicer", "\nA ", "\nB ", " yes", " no", "verdict: "),
    *("the answer is ", " hope that helps!"),
)
CHARACTERS = tuple(string.ascii_lowercase + string.digits + " \n" + string.ascii_uppercase + string.punctuation)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user>{{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %}<assistant>{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('The tiny model knows the roles user and assistant only, not ' + message['role']) }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def vocabulary() -> dict[str, int]:
    """Token to id, in a fixed order; its size is a multiple of 8."""
    tokens = [*SPECIAL_TOKENS, *PHRASES, *CHARACTERS]
    tokens += [f"<unused{i}>" for i in range(-len(tokens) % 8)]
    return {token: index for index, token in enumerate(tokens)}


def build_tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    """An exact tokenizer: the longest phrase first, else single characters; unknown characters become ``<unk>``."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    phrases = sorted(PHRASES, key=len, reverse=True)
    pattern = "|".join([*(re.escape(phrase) for phrase in phrases), r"[\s\S]"])
    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=max_length,
        padding_side="left",
    )
