"""Training examples, already tokenised, and their Parquet files.

One file holds examples of one kind. Columns are plain lists and integers, so the files can be opened with ``datasets``
or pandas. The objectives that read each kind:

- :class:`SequenceExample`: ``sft`` (rationale and verdict).
- :class:`VerdictExample`: ``direct`` (one pair in both orders, the verdict token only).
- :class:`PairExample`: ``dpo`` (two judgments of one prompt), ``bradley_terry`` and ``points`` (two answers to one).
- :class:`LabeledExample`: ``pairrm`` (both answers in one prompt; does A win?).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from genrm_rl.errors import DataError


@dataclass(frozen=True)
class SequenceExample:
    """A prompt with a completion; the loss is taken on the tokens whose mask is 1 (never on token 0)."""

    input_ids: tuple[int, ...]
    loss_mask: tuple[int, ...]
    id: str = ""

    @classmethod
    def from_completion(cls, prompt: Sequence[int], completion: Sequence[int], id: str = "") -> SequenceExample:
        """Loss on every completion token (Eq. 8: rationale and verdict with equal weight)."""
        return cls((*prompt, *completion), (0,) * len(prompt) + (1,) * len(completion), id)


@dataclass(frozen=True)
class VerdictExample:
    """One pair in both orders, each up to where the verdict's letter is written: ``ab_ids`` with the preferred answer
    as A, ``ba_ids`` with it as B. ``letter_ids`` are the tokens of A and B."""

    ab_ids: tuple[int, ...]
    ba_ids: tuple[int, ...]
    letter_ids: tuple[int, ...]
    id: str = ""


@dataclass(frozen=True)
class PairExample:
    """Two sequences of which the first is preferred. ``*_prompt_length`` tokens at the start are not scored (DPO)."""

    chosen_ids: tuple[int, ...]
    chosen_prompt_length: int
    rejected_ids: tuple[int, ...]
    rejected_prompt_length: int
    id: str = ""

    @classmethod
    def from_completions(
        cls, prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int], id: str = ""
    ) -> PairExample:
        """Two completions of one prompt."""
        return cls((*prompt, *chosen), len(prompt), (*prompt, *rejected), len(prompt), id)


@dataclass(frozen=True)
class LabeledExample:
    """One sequence and a binary label: 1 if answer A of the judge prompt in ``input_ids`` wins."""

    input_ids: tuple[int, ...]
    label: int
    id: str = ""


Example: TypeAlias = SequenceExample | VerdictExample | PairExample | LabeledExample
KINDS: dict[str, type[SequenceExample] | type[VerdictExample] | type[PairExample] | type[LabeledExample]] = {
    "sequence": SequenceExample,
    "verdict": VerdictExample,
    "pair": PairExample,
    "labeled": LabeledExample,
}


def sequences(example: Example) -> tuple[tuple[int, ...], ...]:
    """The one or two token sequences that a forward pass must see for this example."""
    if isinstance(example, PairExample):
        return example.chosen_ids, example.rejected_ids
    if isinstance(example, VerdictExample):
        return example.ab_ids, example.ba_ids
    return (example.input_ids,)


def token_count(example: Example) -> int:
    """Tokens that a forward pass of this example costs."""
    return sum(len(ids) for ids in sequences(example))


def check_example(example: Example) -> None:
    """Raise ValueError, naming what is wrong, if the example can't be trained on."""
    if any(len(ids) < 2 for ids in sequences(example)):
        raise ValueError("has fewer than two tokens")
    if isinstance(example, SequenceExample):
        if len(example.loss_mask) != len(example.input_ids):
            raise ValueError(f"has {len(example.input_ids)} tokens and {len(example.loss_mask)} mask entries")
        if example.loss_mask[0] or not any(example.loss_mask):
            raise ValueError("must mask in at least one token, and not the first one")
        if any(value not in (0, 1) for value in example.loss_mask):
            raise ValueError("has a mask entry that is neither 0 nor 1")
    elif isinstance(example, PairExample):
        for name, ids, prompt in (
            ("chosen", example.chosen_ids, example.chosen_prompt_length),
            ("rejected", example.rejected_ids, example.rejected_prompt_length),
        ):
            if not 1 <= prompt < len(ids):
                raise ValueError(f"{name}_prompt_length is {prompt}, but must be between 1 and {len(ids) - 1}")
        if example.chosen_ids == example.rejected_ids:
            raise ValueError("has equal chosen and rejected sequences")
    elif isinstance(example, VerdictExample):
        if len(example.letter_ids) != 2 or example.letter_ids[0] == example.letter_ids[1]:
            raise ValueError(f"has the letters {list(example.letter_ids)}, but must have one token for A and one for B")
        if example.ab_ids == example.ba_ids:
            raise ValueError("has two equal orders")
    elif example.label not in (0, 1):
        raise ValueError(f"label is {example.label}, but must be 0 or 1")


def write_examples(path: str | Path, examples: Sequence[Example]) -> str:
    """Write examples of one kind to Parquet, atomically. Returns the file's SHA-256.

    Raises DataError if there is none, if kinds are mixed, or if an example can't be trained on.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from genrm_rl.runtime.storage import write_atomic

    path = Path(path)
    if not examples:
        raise DataError(f"there is no training example to write to {path}; relax the selection or sample more traces")
    kind = next(name for name, cls in KINDS.items() if isinstance(examples[0], cls))
    for index, example in enumerate(examples):
        if not isinstance(example, KINDS[kind]):
            raise DataError(f"{path}: example {index} is a {type(example).__name__}, the first one is {kind}")
        _check(path, index, example)
    columns = {field.name: [getattr(example, field.name) for example in examples] for field in fields(KINDS[kind])}
    types = {name: _arrow_type(pa, name) for name in columns}
    table = pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"genrm_rl.kind": kind}), sink)
    payload = sink.getvalue().to_pybytes()
    write_atomic(path, payload)
    return hashlib.sha256(payload).hexdigest()


def read_examples(path: str | Path) -> list[Example]:
    """Read what :func:`write_examples` wrote. Raises DataError naming the file (and row) when it is not that."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file of training examples")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}); write the examples again") from error
    kind = ((table.schema.metadata or {}).get(b"genrm_rl.kind") or b"").decode()
    if kind not in KINDS:
        raise DataError(f"{path} does not say which kind of examples it holds; write it with write_examples()")
    cls = KINDS[kind]
    missing = [field.name for field in fields(cls) if field.name not in table.column_names]
    if missing:
        raise DataError(f"{path}: column {missing[0]} is missing")
    examples: list[Example] = []
    columns = [table.column(field.name).to_pylist() for field in fields(cls)]
    for index, row in enumerate(zip(*columns, strict=True)):
        example = cls(*(tuple(value) if isinstance(value, list) else value for value in row))
        _check(path, index, example)
        examples.append(example)
    if not examples:
        raise DataError(f"{path} holds no training example")
    return examples


def _check(path: Path, index: int, example: Example) -> None:
    try:
        check_example(example)
    except ValueError as error:
        raise DataError(f"{path}: example {index} ({example.id or 'no id'}) {error}") from error


def _arrow_type(pa, name: str):  # noqa: ANN001, ANN202 - pyarrow is imported lazily
    if name.endswith("_ids"):
        return pa.list_(pa.int32())
    if name == "loss_mask":
        return pa.list_(pa.int8())
    return pa.string() if name == "id" else pa.int32()
