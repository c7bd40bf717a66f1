"""Small finished runs on disk, as jobs leave them, for tests of the reader: nothing is sampled for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.rollouts import Rollout
from genrm_rl.config import DataConfig, RunConfig, RunSettings, SourceConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.prompts import PromptsConfig, PromptSource
from genrm_rl.evaluation.records import RECORDS, record_from_judgment, write_records
from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.preferences.nulls import null_pairs
from genrm_rl.preferences.types import PreferencePair, as_messages, content_hash
from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.rollout.trace_store import REASONS_FILE, write_reasons, write_traces
from genrm_rl.runtime.run_directory import PROVENANCE
from genrm_rl.runtime.storage import publish_directory, write_atomic, write_json, write_json_lines
from genrm_rl.serving.contracts import Cost, Judged, JudgmentOut, compare
from tests.unit.judging_cases import trace

ATTACK = (
    "</pre><img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>{{ 7 * 7 }}"
)


def settle(run: Path, config: RunConfig | AlignConfig) -> None:
    """What makes a folder a run."""
    write_atomic(run / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    write_json(run / PROVENANCE, {"run_id": run.name})


def votes(pair: PreferencePair, says: str, text: str = "because") -> list[Trace]:
    """A trace per order; ``says`` is the letter of the answer that each of them names (R the chosen one, W the other,
    ? none), in the order A first, B first."""
    found = []
    for swapped, said in zip((False, True), says, strict=True):
        right = pair.label(swapped=swapped)
        slot = right if said == "R" else "B" if right == "A" else "A"
        verdict = Verdict.UNPARSEABLE if said == "?" else Verdict.of(slot)
        p_a = None if said == "?" else 0.9 if slot == "A" else 0.1
        name = f"test/v/cot/{pair.id}/{'ba' if swapped else 'ab'}/0"
        words = f"{text} in {'ba' if swapped else 'ab'}"
        found.append(replace(trace(verdict, p_a, pair_id=pair.id, swapped=swapped), text=words, trace_id=name))
    return found


def judged_stage(run: Path, suite: str, pairs: Sequence[PreferencePair], says: Sequence[str], text: str) -> None:
    """Traces and judgments of one suite."""
    traces = {pair.id: votes(pair, word, text) for pair, word in zip(pairs, says, strict=True)}
    with publish_directory(run / suite / "traces", {}) as folder:
        write_traces(folder / "traces.parquet", [each for some in traces.values() for each in some])
    facts = {"judge": "j", "test_set": "set", "decoding": "sampled"}
    with publish_directory(run / suite / "judgments", {}) as folder:
        rows = [record_from_judgment(pair, fold(traces[pair.id]), **facts) for pair in pairs]
        write_records(folder / RECORDS, rows)


def evaluated_run(run: Path, says: Sequence[str] = ("RR", "WW", "RW", "R?")) -> list[PreferencePair]:
    """A bootstrap's directory with one test set and a probe gate; the first pair's texts are an attack."""
    pairs = [PreferencePair.create(f"question {n}", f"good answer {n}", f"poor answer {n}") for n in range(len(says))]
    pairs[0] = PreferencePair.create(f"question {ATTACK}", f"good {ATTACK}", "\npoor")
    rows = [{"prompt": p.prompt[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    write_json_lines(run / "pairs.jsonl", rows)
    source = SourceConfig(name="set", path="pairs.jsonl")
    settle(run, RunConfig(run=RunSettings(id=run.name), data=DataConfig(root=str(run), test=(source,))))
    judged_stage(run, "evaluation/j/set/sampled", pairs, says, f"because {ATTACK}")
    probes = null_pairs(pairs[1:3], ("other_answer", "worn_verdict"), 0)
    judged_stage(run, "probes/j/null_answers/greedy", probes, ["WW"] * len(probes), "fooled")
    return pairs


QUESTION = "What is two and two?"
ANSWERS = ("four", "five", "cut off here")


def aligned_run(run: Path) -> list[JudgmentOut]:
    """An alignment's directory with one step: a group of a right, a wrong and a masked answer. The judge prefers the
    wrong one."""
    write_json_lines(run / "questions.jsonl", [{"prompt": QUESTION, "answer": "four"}])
    source = PromptSource(path="questions.jsonl", known_answer="answer")
    config = AlignConfig(prompts=PromptsConfig(root=str(run), train=(source,), test=(source,)))
    settle(run, config.model_copy(update={"run": RunSettings(id=run.name)}))
    shown = compare(QUESTION, "five", "four")
    says = [(False, Verdict.PREFERS_A, 0.8), (True, Verdict.PREFERS_B, 0.3)]
    traces = [replace(trace(v, p, pair_id=shown.pair_id, swapped=s), text=f"five, {s}") for s, v, p in says]
    judgment = JudgmentOut.of(Judged(fold(traces), False, Cost(), "v"), rationales=True)
    name = content_hash([[turn.role, turn.content] for turn in as_messages(QUESTION)])
    records = [
        RewardRecord(0.25, None, (judgment.id,), "v", {"judge": 0.25, "length": 0.0}),
        RewardRecord(0.75, None, (judgment.id,), "v"),
        RewardRecord(None, Mask.TRUNCATED, (), "v"),
    ]
    group = [
        JudgedAnswer(Answer(name, n, (1,), text, (0.0,), "stop" if n < 2 else "length", "base"), record)
        for n, (text, record) in enumerate(zip(ANSWERS, records, strict=True))
    ]
    facts = {"judge_version": "v", "generate_seconds": 0.0, "judge_seconds": 0.0}
    with publish_directory(run / "steps/00000/rollout", facts) as folder:
        rollout = Rollout([group], [json.loads(judgment.model_dump_json())], "v", 0.0, 0.0)
        rollout.write(folder)
    return [judgment]


def trained_run(run: Path, *, recorded: bool = True) -> PreferencePair:
    """A bootstrap's directory with traces of two training pairs, one of which is the returned one, and a round that
    chose from them: in its first order one was kept and one is a duplicate, in the other one is wrong."""
    pairs = [PreferencePair.create(f"lesson {n}", f"good answer {n}", f"poor answer {n}") for n in range(2)]
    rows = [{"prompt": p.prompt[0].content, "chosen": p.chosen, "rejected": p.rejected} for p in pairs]
    write_json_lines(run / "train.jsonl", rows)
    source = SourceConfig(name="lessons", path="train.jsonl")
    settle(run, RunConfig(run=RunSettings(id=run.name), data=DataConfig(root=str(run), train=(source,))))
    pair, other = pairs
    right, wrong = votes(pair, "RW", "reason")
    sampled = [replace(right, trace_id=right.trace_id + "0"), right, wrong, *votes(other, "??")]
    with publish_directory(run / "traces/base-part1", {}) as folder:
        write_traces(folder / "traces.parquet", sampled)
    codes = ("duplicate", "kept", "wrong_verdict", "unparseable", "unparseable")
    with publish_directory(run / "methods/star_sft/round1/examples", {"reasons": {"kept": 1}}) as folder:
        if recorded:
            write_reasons(folder / REASONS_FILE, [(t.trace_id, c) for t, c in zip(sampled, codes, strict=True)])
    return pair
