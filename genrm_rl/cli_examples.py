"""One to three command lines for each command of ``genrm-rl``, which `--help` shows and a test parses."""

from __future__ import annotations

JUDGE = "runs/quickstart/turn1/bootstrap/methods/star_dpo/round1/checkpoint"
POLICY = "runs/cloned/policy"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "read": ("genrm-rl read runs/quickstart",),
    "compare": ("genrm-rl compare runs/quickstart/turn1 runs/quickstart/turn2 --out comparison.html",),
    "watch": ("genrm-rl watch quickstart",),
    "init": (
        "genrm-rl init",
        "genrm-rl init --pairs pairs.jsonl --model smollm2 --out first.yaml",
    ),
    "quickstart": (
        "genrm-rl quickstart",
        "genrm-rl quickstart --dry-run",
    ),
    "bootstrap": (
        "genrm-rl bootstrap --config jobs/configs/bootstrap_tiny.yaml --run.id try",
        "genrm-rl bootstrap --config jobs/configs/smollm2_human.yaml --data.root /path/to/preferences --dry-run",
        "genrm-rl bootstrap --config first.yaml --bootstrap.dpo.beta 0.5 --resume",
    ),
    "evaluate": (
        "genrm-rl evaluate llm_judge --config jobs/configs/bootstrap_tiny.yaml --run.id zero_shot",
        f"genrm-rl evaluate {JUDGE} --config jobs/configs/bootstrap_tiny.yaml --run.id trained --evaluation.pairs 50",
    ),
    "benchmark": (
        "genrm-rl benchmark llm_judge --suite rewardbench2 --path rewardbench2.parquet --model.name smollm2",
        f"genrm-rl benchmark {JUDGE} --suite judgebench --path gpt.jsonl --path claude.jsonl",
    ),
    "best-of": (f"genrm-rl best-of {JUDGE} --path candidates.jsonl --out winners.jsonl --rule round_robin",),
    "report": ("genrm-rl report runs/quickstart", "genrm-rl report runs/quickstart/turn1/bootstrap"),
    "status": ("genrm-rl status quickstart", "genrm-rl status runs/quickstart/turn1/align"),
    "serve": (
        "genrm-rl serve --serving.port 8001",
        f"genrm-rl serve --serving.checkpoint {JUDGE}",
    ),
    "align": (
        f"genrm-rl align --serving.checkpoint {JUDGE} --run.id aligned",
        "genrm-rl align --method dpo --reward.url http://127.0.0.1:8000 --dpo.rounds 2",
        "genrm-rl align --help ppo",
    ),
    "loop": (
        "genrm-rl loop --config jobs/configs/loop_tiny.yaml --turns 2 --run.id mine",
        "genrm-rl loop --labels.source people --dry-run",
    ),
    "label": (
        "genrm-rl label mine",
        "genrm-rl label comparisons.jsonl --out labels.jsonl --desk.annotators 10 --desk.overlap 0.2",
        "genrm-rl label comparisons.jsonl --out pairs.jsonl --form pairs --no-page",
    ),
    "clone-agent": ("genrm-rl clone-agent --clone.base new --run.id cloned",),
    "train-agent": ("genrm-rl train-agent --ppo.steps 20 --run.id agent", "genrm-rl train-agent --dry-run"),
    "evaluate-agent": (f"genrm-rl evaluate-agent {POLICY} --environment shop",),
    "collect-episodes": ("genrm-rl collect-episodes --ppo.steps 2 --run.id episodes",),
    "agent-pairs": ("genrm-rl agent-pairs --episodes runs/episodes --out pairs.jsonl --held-out 0.1",),
    "train-step-judge": ("genrm-rl train-step-judge --episodes runs/episodes --run.id step_judge",),
    "plan": (
        "genrm-rl plan --config jobs/configs/align_llama8b.yaml --suggest any",
        "genrm-rl plan --config jobs/configs/align_llama8b.yaml --learner.workers 4",
    ),
    "doctor": ("genrm-rl doctor", "genrm-rl doctor --config jobs/configs/smollm2_human.yaml"),
    "selftest": ("genrm-rl selftest", "genrm-rl selftest learner_memory --device cuda"),
    "play": (
        "genrm-rl play list",
        "genrm-rl play shop --policy random --episodes 5",
    ),
    "models": ("genrm-rl models",),
}


def examples(command: str) -> str:
    """The paragraph of a command's `--help`; empty for a command that has none."""
    lines = EXAMPLES.get(command, ())
    return "\n\n".join([f"{'Example' if len(lines) == 1 else 'Examples'}:", *lines]) if lines else ""
