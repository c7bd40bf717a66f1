"""Training examples, already tokenised, and their Arrow files.

One file holds examples of one kind, uncompressed, so that it is memory-mapped and not read: as Python integers, 60k
pairs of 4k tokens would be 17 GB in every process. Columns are plain lists and integers (``pyarrow.ipc.open_file``
opens them). The objectives that read each kind:

- :class:`SequenceExample`: ``sft`` (rationale and verdict).
- :class:`VerdictExample`: ``direct`` (one pair in both orders, the verdict token only).
- :class:`PairExample`: ``dpo`` (two judgments of one prompt), ``bradley_terry`` and ``points`` (two answers to one).
- :class:`LabeledExample`: ``pairrm`` (both answers in one prompt; does A win?).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from genrm_rl.errors import DataError
from genrm_rl.runtime.storage import file_hash

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_TOKENS = 2**20  # of a file that are in memory while it is written


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
Kind = TypeVar("Kind", bound=Example)
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


def pieces(examples: Iterable[Kind], tokens: int) -> Iterator[list[Kind]]:
    """Runs of examples, each of ``tokens`` tokens and what its last example has beyond them."""
    piece: list[Kind] = []
    found = 0
    for example in examples:
        piece.append(example)
        found += token_count(example)
        if found >= tokens:
            yield piece
            piece, found = [], 0
    if piece:
        yield piece


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


def write_examples(path: str | Path, examples: Iterable[Example]) -> str:
    """Write examples of one kind to an Arrow file, atomically and piece by piece. Returns the file's SHA-256.

    Raises DataError if there is none, if kinds are mixed, or if an example can't be trained on.
    """
    import pyarrow as pa

    from genrm_rl.runtime.storage import atomic_file

    path, rest = Path(path), iter(examples)
    first = next(rest, None)
    if first is None:
        raise DataError(f"there is no training example to write to {path}; relax the selection or sample more traces")
    kind = next(name for name, cls in KINDS.items() if isinstance(first, cls))
    schema = _schema(pa, kind)
    with atomic_file(path) as handle, pa.ipc.new_file(handle, schema) as writer:
        for piece in pieces(_checked(path, KINDS[kind], chain([first], rest)), PIECE_TOKENS):
            columns = [pa.array([getattr(e, field.name) for e in piece], field.type) for field in schema]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return file_hash(path)


def read_examples(path: str | Path) -> MappedExamples:
    """Open what :func:`write_examples` wrote. Raises DataError naming the file when it is not that."""
    import pyarrow as pa

    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file of training examples")
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Arrow file ({error}); write the examples again") from error
    kind = ((reader.schema.metadata or {}).get(b"genrm_rl.kind") or b"").decode()
    if kind not in KINDS:
        raise DataError(f"{path} does not say which kind of examples it holds; write it with write_examples()")
    for field in _schema(pa, kind):
        if field.name not in reader.schema.names or reader.schema.field(field.name).type != field.type:
            raise DataError(f"{path}: column {field.name} of type {field.type} is missing")
    examples = MappedExamples(path, KINDS[kind], [reader.get_batch(i) for i in range(reader.num_record_batches)])
    if not examples:
        raise DataError(f"{path} holds no training example")
    return examples


class MappedExamples(Sequence[Example]):
    """Examples of a memory-mapped file. One is made when it is asked for, and checked (DataError naming file and row);
    the tokens of the others stay in the file, of which the machine keeps one copy for all processes that read it."""

    def __init__(self, path: Path, cls: type[Example], batches: Sequence[pa.RecordBatch]) -> None:
        self._path, self._cls = path, cls
        names = [field.name for field in fields(cls)]
        self._columns = [[batch.column(name) for name in names] for batch in batches]
        self._ends = list(accumulate(batch.num_rows for batch in batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        piece = bisect_right(self._ends, index)
        row = index - (self._ends[piece - 1] if piece else 0)
        example = self._cls(*(_value(column[row]) for column in self._columns[piece]))
        _check(self._path, index, example)
        return example


def _value(scalar: pa.Scalar) -> object:
    """A Python value; a list's entries are read at once, not one object after another."""
    values = getattr(scalar, "values", None)
    return scalar.as_py() if values is None else tuple(values.to_numpy().tolist())


def _checked(path: Path, cls: type[Example], examples: Iterable[Example]) -> Iterator[Example]:
    for index, example in enumerate(examples):
        if not isinstance(example, cls):
            raise DataError(f"{path}: example {index} is a {type(example).__name__}, the first one is {cls.__name__}")
        _check(path, index, example)
        yield example


def _check(path: Path, index: int, example: Example) -> None:
    try:
        check_example(example)
    except ValueError as error:
        raise DataError(f"{path}: example {index} ({example.id or 'no id'}) {error}") from error


def _schema(pa, kind: str) -> pa.Schema:  # noqa: ANN001 - pyarrow is imported lazily
    def type_of(name: str) -> pa.DataType:
        if name.endswith("_ids"):
            return pa.list_(pa.int32())
        if name == "loss_mask":
            return pa.list_(pa.int8())
        return pa.string() if name == "id" else pa.int32()

    return pa.schema([(field.name, type_of(field.name)) for field in fields(KINDS[kind])], {"genrm_rl.kind": kind})
