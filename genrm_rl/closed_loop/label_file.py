"""The file that a person fills: written once, read with every mistake named by its line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_rl.closed_loop.comparisons import NewComparison
from genrm_rl.closed_loop.labels import HumanLabel
from genrm_rl.errors import DataError
from genrm_rl.preferences.files import read_json
from genrm_rl.preferences.validation import RawRow
from genrm_rl.runtime.storage import write_atomic

ALLOWED = ("a", "b", "skip")
INSTRUCTIONS = """Which answer is better?

{file} has one comparison per line: a prompt, answer_a and answer_b, and an empty "label". For each line, put
between the quotes after "label"

  a     if answer_a is better
  b     if answer_b is better
  skip  if neither is, or you can't tell (the comparison is then not used)

Change nothing else. The order of the two answers is random. {empty}
Or label on a page: genrm-rl label {run}
Then continue the loop:

  {command}
"""
EMPTY = {
    "human": "Every line needs one of the three.",
    "both": "A line that stays empty gets the judge's label where the judge is sure; yours wins.",
}


def write_label_file(path: Path, comparisons: Sequence[NewComparison], source: str, command: str) -> None:
    """The comparisons with empty labels, and ``HOW_TO_LABEL.txt`` beside them. An existing file is never touched."""
    if path.exists():
        return
    text = INSTRUCTIONS.format(file=path.name, empty=EMPTY[source], run=path.parents[1], command=command)
    write_atomic(path.with_name("HOW_TO_LABEL.txt"), text)
    lines = (json.dumps(label_row(comparison), ensure_ascii=False) for comparison in comparisons)
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_label_file(path: Path, comparisons: Sequence[NewComparison]) -> dict[str, HumanLabel]:
    """Labels by comparison id; lines with an empty label are left out.

    Raises DataError with the first bad line (and how many more there are) for anything but a, b, skip and empty, for
    lines that are no comparison of this turn, come twice, or whose texts were changed.
    """
    known = {comparison.id: label_row(comparison) for comparison in comparisons}
    labels: dict[str, HumanLabel] = {}
    seen: dict[str, int] = {}
    problems: list[str] = []
    for row in read_json(path):
        problem = _problem(row, known, seen)
        if problem:
            problems.append(f"{row.place}: {problem}")
            continue
        seen[row.fields["id"]] = row.line
        label = row.fields["label"].strip().lower()
        if label:
            labels[row.fields["id"]] = label
    if problems:
        more = f" (and {len(problems) - 1} more bad lines)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}; mend the file and give the command again")
    return labels


def _problem(row: RawRow, known: Mapping[str, dict[str, Any]], seen: Mapping[str, int]) -> str | None:
    """What is wrong with a line, or None."""
    if row.problem:
        return row.problem
    if not isinstance(row.fields, dict) or not isinstance(row.fields.get("id"), str):
        return "the line has no `id`"
    name, label = row.fields["id"], row.fields.get("label")
    if name not in known:
        return f"there is no comparison {name} in this turn"
    if name in seen:
        return f"comparison {name} was on line {seen[name]} already"
    changed = [key for key in ("prompt", "answer_a", "answer_b") if row.fields.get(key) != known[name][key]]
    if changed:
        return f"`{changed[0]}` of comparison {name} was changed, so the label would belong to another text"
    if not isinstance(label, str) or label.strip().lower() not in (*ALLOWED, ""):
        return f"label {label!r} is none of {', '.join(ALLOWED)}"
    return None


def label_row(comparison: NewComparison) -> dict[str, Any]:
    """A comparison as a person is shown it, without a label."""
    prompt, (answer_a, answer_b) = comparison.pair.prompt, comparison.answers
    turns = [{"role": turn.role, "content": turn.content} for turn in prompt]
    return {
        "id": comparison.id,
        "prompt": prompt[0].content if len(prompt) == 1 else turns,
        "answer_a": answer_a,
        "answer_b": answer_b,
        **comparison.pair.guide.plain(),  # what the judge is told, a person should know
        "label": "",
    }
