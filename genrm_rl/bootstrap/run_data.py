"""The data of a run: read and checked before the run exists, and the same whenever it is continued."""

from __future__ import annotations

from genrm_rl.bootstrap.preflight import check_rounds
from genrm_rl.config import RunConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.evaluation.scoring import check_scoring, whole_items
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.preferences.sources import DataSplits, Misfit, load_sources
from genrm_rl.preferences.splits import Pairs
from genrm_rl.preferences.types import fingerprint
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import read_json, write_json

DATA_FILE, REJECTS_FILE = "data.json", "rejects.jsonl"


def checked_data(run: RunDirectory, encoder: JudgeEncoder) -> tuple[DataSplits, dict[str, Pairs]]:
    """The run's pairs, and what of each test set is measured. Raises GenRMError for data that its settings can't
    use."""
    config = run.config
    splits = load_run_data(run, misfit(config, encoder))
    check_rounds(config, splits)
    tests = {name: whole_items(pairs, config.evaluation.pairs) for name, pairs in splits.test.items()}
    for name, pairs in tests.items():
        check_scoring(name, pairs, config.evaluation.scoring)
    return splits, tests


def load_run_data(run: RunDirectory, misfit: Misfit) -> DataSplits:
    """The pairs that the run's settings name, recorded in ``data.json`` (and ``rejects.jsonl``) of a new run.

    A continued run's records are left as they are: its data must be what it was started with. Raises DataError and
    ConfigError as ``load_sources`` does, RunDirectoryError if the files have changed under the run.
    """
    data, path = run.config.data, run.path / DATA_FILE
    recorded = read_json(path) if run.resumed and path.is_file() else None
    rejects_path = run.path / REJECTS_FILE if recorded is None else None
    splits = load_sources(data, run.config.run.seed, misfit=misfit, rejects_path=rejects_path)
    sides = {"train": splits.train, "gate": splits.gate} | {
        f"test/{name}": pairs for name, pairs in splits.test.items()
    }
    if splits.tied:
        sides["tied"] = splits.tied
    prints = {side: fingerprint(pairs) for side, pairs in sides.items()}
    if recorded is None:
        write_json(path, splits.report.as_dict() | {"fingerprints": prints})
        return splits
    before = recorded.get("fingerprints", prints)
    changed = [side for side in prints if before.get(side) != prints[side]]
    if changed:
        counts = f"{recorded['sizes'].get(changed[0], 0)} pairs then, {len(sides[changed[0]])} now"
        raise RunDirectoryError(
            f"the data of run {run.config.run.id!r} changed since it was started ({', '.join(changed)}: {counts}); "
            "put the files back, or start another --run.id"
        )
    splits.report.rejects_file = recorded["rejects_file"]
    return splits


def misfit(config: RunConfig, encoder: JudgeEncoder) -> Misfit:
    """The check that names rows which do not fit the model's context, for every prompt form that this run uses."""
    forms = ["cot", "direct"]
    told = [method for method in config.bootstrap.methods if "rationalizer" in method or method == "self_distilled"]
    if told or (config.bootstrap.selection.on_all_wrong == "rationalize"):
        forms.append("rationalize")
    return lambda pair: encoder.misfit(pair, tuple(forms))
