"""Pre-train the shipped `tiny` base model from scratch: python jobs/pretrain_tiny.py --out genrm_rl/models/assets/tiny

A 3.2-million-parameter Llama reads packed documents of the task world (some 25 minutes on two CPU cores). An
interrupted run continues from <out>/checkpoint.pt when the same command is given again. The folder that it leaves loads
with transformers and vLLM; pretraining.json beside the weights records what was really measured. With --evaluate FOLDER
nothing is trained: the model's accuracies are printed and written to evaluation.jsonl in that folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from genrm_rl.preferences.world.base_metrics import measure_base
from genrm_rl.preferences.world.documents import documents
from genrm_rl.preferences.world.vocabulary import build_tokenizer, vocabulary

CONTEXT_TOKENS = 512
IGNORED = -100
LOG_STEPS = 50


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, apart from floating-point order."""

    seed: int = 17
    tokens: int = 7_500_000
    rows: int = 16
    row_tokens: int = 256
    learning_rate: float = 3e-3  # AdamW, embeddings and norms
    muon_learning_rate: float = 3e-3  # Muon, the layers' matrices; its updates are scaled to AdamW's size
    weight_decay: float = 0.1
    warmup_steps: int = 100

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.tokens // (self.rows * self.row_tokens)


@dataclass
class Training:
    """The state that a checkpoint carries."""

    recipe: Recipe
    model: LlamaForCausalLM
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)  # nats per completion token, every LOG_STEPS steps

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place, then rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint of the same recipe."""
        state = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise SystemExit(f"{path} belongs to another recipe: give the same options again, or another --out.")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]


def build_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Llama, 4 layers of width 256, tied embeddings, fp32."""
    config = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def build_optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(
        matrices, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [
        muon,
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def packed_batches(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels, both (rows, row_tokens); only completions with their end token carry labels."""
    ids: list[int] = []
    labels: list[int] = []
    shape = (recipe.rows, recipe.row_tokens)
    size = recipe.rows * recipe.row_tokens
    for document in documents(recipe.seed):
        prompt = tokenizer(f"<s><user>{document.user}<assistant>")["input_ids"]
        completion = tokenizer(f"{document.assistant}</s>")["input_ids"]
        ids += prompt + completion
        labels += [IGNORED] * len(prompt) + completion
        while len(ids) >= size:
            yield torch.tensor(ids[:size]).view(shape), torch.tensor(labels[:size]).view(shape)
            ids, labels = ids[size:], labels[size:]


def train_step(training: Training, ids_BT: torch.Tensor, labels_BT: torch.Tensor) -> float:
    """One update, computed in bf16 on fp32 weights; returns the mean loss per completion token (nats)."""
    recipe, model = training.recipe, training.model
    factor = min(1.0, (training.step + 1) / recipe.warmup_steps) * (1 - training.step / recipe.steps)
    rates = (recipe.muon_learning_rate, recipe.learning_rate)
    for optimizer, rate in zip(training.optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
    targets_BT = labels_BT[:, 1:]
    learnt_BT = targets_BT != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
        logits_NV = model.lm_head(hidden_BTD[:, :-1][learnt_BT])
    loss = torch.nn.functional.cross_entropy(logits_NV.float(), targets_BT[learnt_BT])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in training.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def pretrain(recipe: Recipe, out: Path, *, save_every: int, stop_after: int | None = None) -> dict[str, object]:
    """Train, or continue from out/checkpoint.pt; leave the model folder in ``out`` and return the measurements."""
    torch.manual_seed(recipe.seed)
    tokenizer = build_tokenizer(CONTEXT_TOKENS)
    model = build_model(tokenizer)
    training = Training(recipe, model, build_optimizers(model, recipe))
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
    model.model.compile()  # in place, so that parameter names stay
    batches = packed_batches(tokenizer, recipe)
    for _ in range(training.step):
        next(batches)
    last = min(recipe.steps, stop_after or recipe.steps)
    tokens_per_step = recipe.rows * recipe.row_tokens
    started = time.monotonic() - training.seconds
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"))
    with Progress(*columns, TextColumn("{task.fields[state]}"), TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("pre-training", total=last, completed=training.step, state="")
        while training.step < last:
            loss = train_step(training, *next(batches))
            training.step += 1
            training.seconds = time.monotonic() - started
            if training.step % LOG_STEPS == 0:
                training.losses.append(round(loss, 4))
                state = f"loss {loss:.3f}, {training.step * tokens_per_step / training.seconds:.0f} tokens/s"
                bar.update(task, completed=training.step, state=state)
                if not bar.console.is_terminal:
                    print(f"step {training.step}/{recipe.steps}: {state}", flush=True)
            if training.step % save_every == 0:
                training.save(checkpoint)
    if training.step < recipe.steps:
        training.save(checkpoint)
    else:
        export(model, tokenizer, out)
        checkpoint.unlink(missing_ok=True)
    recent = training.losses[-10:]
    return {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": training.step,
        "tokens": training.step * tokens_per_step,
        "minutes": round(training.seconds / 60, 1),
        "threads": torch.get_num_threads(),
        "final_loss": round(sum(recent) / len(recent), 4) if recent else None,
    }


def export(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write weights (bf16 safetensors), configuration and tokenizer in Hugging Face layout."""
    half = LlamaForCausalLM(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    half.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    half.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)


def evaluate(folder: Path, *, pairs: int, cue: float, seed: int) -> None:
    """Print the base's figures as they are measured and keep them in folder/evaluation.jsonl."""
    with (folder / "evaluation.jsonl").open("w") as log:
        for row in measure_base(folder, pairs=pairs, cue=cue, seed=seed):
            line = json.dumps(row)
            print(line, flush=True)
            log.write(line + "\n")


def main() -> None:
    """Command line."""
    defaults = Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, help="model folder to write")
    target.add_argument("--evaluate", type=Path, metavar="FOLDER", help="measure this model instead of training one")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--tokens", type=int, default=defaults.tokens, help="tokens to read (default %(default)s)")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="steps between checkpoints")
    parser.add_argument("--stop-after", type=int, metavar="STEP", help="leave a checkpoint at this step and stop")
    parser.add_argument("--pairs", type=int, default=500, help="with --evaluate: pairs per test set")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate:
        evaluate(arguments.evaluate, pairs=arguments.pairs, cue=0.75, seed=arguments.seed)
        return
    recipe = Recipe(seed=arguments.seed, tokens=arguments.tokens)
    measured = pretrain(recipe, arguments.out, save_every=arguments.save_every, stop_after=arguments.stop_after)
    text = json.dumps(measured, indent=2)
    if measured["steps"] == recipe.steps:
        (arguments.out / "pretraining.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
