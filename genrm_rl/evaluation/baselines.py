"""Two baselines that every judge has to beat: the longer answer, and a lexical model trained on the same pairs.

Neither reads the question. A judge that is not better than they are has learnt nothing from people that counting words
would not have given, in seconds and without a language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import (
    RECORDS,
    JudgmentRecord,
    prompt_id,
    read_records,
    record_from_probability,
    write_records,
)
from genrm_rl.evaluation.schema import JudgeInfo
from genrm_rl.judging.probability import sigmoid
from genrm_rl.preferences.nulls import SOURCE
from genrm_rl.preferences.rejects import place_of
from genrm_rl.preferences.types import PreferencePair, content_hash, fingerprint
from genrm_rl.runtime.run_directory import RunDirectory

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

LONGER, LEXICAL = "longer_answer", "lexical"
INFOS = (
    JudgeInfo(name=LONGER, label="Longer answer", kind="baseline", note="the answer with more characters wins"),
    JudgeInfo(
        name=LEXICAL,
        label="Lexical model",
        kind="baseline",
        note="logistic regression on words and bigrams of both answers, trained on the same pairs (those of the test "
        "set's own folder, where there are any)",
    ),
)
TOKEN = r"(?u)\w+|[^\w\s]"
STRENGTHS = (0.1, 1.0, 10.0)  # inverse weights of the L2 penalty that cross-validation chooses from
FOLDS = 5


def baseline_suites(
    run: RunDirectory,
    train: Sequence[PreferencePair],
    tests: Mapping[str, Sequence[PreferencePair]],
    *,
    seed: int,
    apart: bool = False,
) -> tuple[list[list[JudgmentRecord]], list[str]]:
    """Rows of both baselines on every test set, as stages of the run, and a note where there is no lexical model, which
    learns from people's labels alone, not from null negatives.

    ``apart``: the run may be continued with other data (``evaluate``), so stages are named by what the data holds.
    """
    suites: list[list[JudgmentRecord]] = []
    train = [pair for pair in train if pair.source != SOURCE]
    notes = [] if train else ["no lexical baseline: there are no training pairs to learn from"]
    for name, pairs in tests.items():
        suites.append(_stage(run, LONGER, name, pairs, (), seed, apart))
        learnt = same_origin(train, pairs)
        if not learnt:
            continue
        try:
            suites.append(_stage(run, LEXICAL, name, pairs, learnt, seed, apart))
        except DataError as problem:
            notes.append(f"no lexical baseline on {name}: {problem}")
    return suites, notes


def baseline_infos(suites: Sequence[Sequence[JudgmentRecord]]) -> tuple[JudgeInfo, ...]:
    """How the baselines that were measured are named in a report."""
    measured = {records[0].judge for records in suites}
    return tuple(info for info in INFOS if info.name in measured)


def longer(name: str, pairs: Sequence[PreferencePair]) -> list[JudgmentRecord]:
    """One row per pair: the answer with more characters wins, equal lengths tie."""
    shown = [pair.comparison() for pair in pairs]
    sign_N = np.sign([len(each.response_a) - len(each.response_b) for each in shown])
    return [
        record_from_probability(pair, (1.0 + float(sign)) / 2.0, judge=LONGER, test_set=name)
        for pair, sign in zip(pairs, sign_N, strict=True)
    ]


def lexical(
    name: str, pairs: Sequence[PreferencePair], train: Sequence[PreferencePair], seed: int
) -> list[JudgmentRecord]:
    """One row per pair from a logistic regression on the difference of the two answers' words and bigrams (tf-idf),
    trained on ``train``.

    The strength of its penalty comes from cross-validation over the training prompts; seeded. Raises DataError for
    training answers without a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN)
    try:
        words.fit([text for pair in train for text in (pair.chosen, pair.rejected)])
    except ValueError as error:
        raise DataError(f"no answer of its {len(train)} training pairs holds a word") from error

    def apart(first: Sequence[str], second: Sequence[str]) -> csr_matrix:
        return words.transform(first) - words.transform(second)

    gained_NF = apart([pair.chosen for pair in train], [pair.rejected for pair in train])
    model = _fit(gained_NF, _strength(gained_NF, train, seed), seed)
    shown = [pair.comparison() for pair in pairs]
    odds_N = model.decision_function(apart([each.response_a for each in shown], [each.response_b for each in shown]))
    return [
        record_from_probability(pair, sigmoid(float(odds)), judge=LEXICAL, test_set=name)
        for pair, odds in zip(pairs, odds_N, strict=True)
    ]


def same_origin(train: Sequence[PreferencePair], test: Sequence[PreferencePair]) -> Sequence[PreferencePair]:
    """The training pairs from the folders that the test pairs lie in, or all if there are none: what tells helpful
    from harmless says little about true and false, and a baseline shall be as good as it can be."""
    folders = {_folder(pair) for pair in test}
    return [pair for pair in train if _folder(pair) in folders] or train


def _folder(pair: PreferencePair) -> Path:
    return Path(place_of(pair)[0]).parent


def _strength(gained_NF: csr_matrix, train: Sequence[PreferencePair], seed: int) -> float:
    """The inverse penalty that does best on held-out training prompts; the middle of the range if there are too few."""
    fold_N = np.asarray([int(content_hash(seed, "fold", prompt_id(pair)), 16) % FOLDS for pair in train])
    if len(set(fold_N)) < FOLDS:
        return 1.0

    def right(strength: float) -> int:
        folds = ((fold_N != fold, fold_N == fold) for fold in range(FOLDS))
        odds = [
            _fit(gained_NF[learnt], strength, seed).decision_function(gained_NF[held_out]) for learnt, held_out in folds
        ]
        return sum(int((each > 0).sum()) for each in odds)

    return max(STRENGTHS, key=right)


def _fit(gained_NF: csr_matrix, strength: float, seed: int) -> LogisticRegression:
    """A regression without intercept on differences (N) and their mirror images, so that no slot is preferred."""
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    sides_M: NDArray[np.bool_] = np.repeat([True, False], gained_NF.shape[0])
    model = LogisticRegression(
        C=strength, fit_intercept=False, solver="liblinear", dual=True, max_iter=10_000, random_state=seed
    )
    return model.fit(vstack([gained_NF, -gained_NF]), sides_M)


def _stage(
    run: RunDirectory,
    judge: str,
    name: str,
    pairs: Sequence[PreferencePair],
    learnt: Sequence[PreferencePair],
    seed: int,
    apart: bool,
) -> list[JudgmentRecord]:
    by, on = (f"{judge}-{fingerprint(learnt)}", f"{name}-{fingerprint(pairs)}") if apart else (judge, name)

    def compute(directory: Path) -> dict[str, Any]:
        rows = lexical(name, pairs, learnt, seed) if judge == LEXICAL else longer(name, pairs)
        write_records(directory / RECORDS, rows)
        return {"judge_version": judge, "pairs": len(rows), "training_pairs": len(learnt)}

    return read_records(run.stage(f"evaluation/{by}/{on}/deterministic/judgments", compute) / RECORDS)
