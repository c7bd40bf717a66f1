"""Bad models, checkpoints and reports, one function each; each says what the one sentence must hold."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from genrm_rl.learners.probe_record import PROBES_FILE
from genrm_rl.runtime.storage import MARKER
from tests.contract.bad_input_files import BadInput, bootstrap, change_json, copy_model, with_model


def model_that_does_not_exist(folder: Path) -> BadInput:
    words = bootstrap("--model.name", "smolm2")
    return BadInput(words, ("model.name 'smolm2'", "an existing directory"), "did you mean `smollm2`?")


def model_folder_that_does_not_exist(folder: Path) -> BadInput:
    words = bootstrap("--model.name", "./models/judge")
    return BadInput(words, ("model.name './models/judge'", "an existing directory"), "`genrm-rl models` lists")


def hub_model_while_offline(folder: Path) -> BadInput:
    words = bootstrap("--model.name", "nobody/nothing", "--model.cache-dir", "cache")
    return BadInput(words, ("nobody/nothing is not in cache/hub", "HF_HUB_OFFLINE"), "go online, or give --model.name")


def revision_of_a_local_model(folder: Path) -> BadInput:
    words = bootstrap("--model.revision", "main")
    return BadInput(words, ("model.revision 'main' is for hub ids", "tiny"), "unset it")


def gguf_file_that_is_none(folder: Path) -> BadInput:
    (folder / "judge.gguf").write_text("<html>404</html>", encoding="utf-8")
    return BadInput(bootstrap("--model.name", "judge.gguf"), ("judge.gguf is not a GGUF file",), "download it again")


def truncated_weights(folder: Path) -> BadInput:
    model = copy_model(folder)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    return BadInput(with_model(model), ("model.safetensors is cut off", "100,000 bytes"), "copy or download it again")


def git_lfs_pointer_for_weights(folder: Path) -> BadInput:
    model = copy_model(folder)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 6496752\n"
    (model / "model.safetensors").write_text(pointer, encoding="utf-8")
    return BadInput(with_model(model), ("model.safetensors is a Git LFS pointer",), "git lfs pull")


def missing_weight_shard(folder: Path) -> BadInput:
    model = copy_model(folder, without=("model.safetensors",))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return BadInput(with_model(model), ("lacks 2 of the 2 weight files",), "copy or download it again")


def weights_only_as_pickle(folder: Path) -> BadInput:
    model = copy_model(folder, without=("model.safetensors",))
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04")
    return BadInput(with_model(model), ("only as pytorch_model.bin", "can run code"), "convert it to safetensors")


def no_weights(folder: Path) -> BadInput:
    model = copy_model(folder, without=("model.safetensors",))
    return BadInput(with_model(model), (f"{model} has no weights",), "copy or download it again")


def no_tokenizer(folder: Path) -> BadInput:
    model = copy_model(folder, without=("tokenizer.json", "tokenizer_config.json"))
    return BadInput(with_model(model), (f"{model} has no tokenizer",), "copy it from the base model")


def broken_tokenizer(folder: Path) -> BadInput:
    model = copy_model(folder)
    (model / "tokenizer.json").write_text('{"version": "1.0", "model": {}}', encoding="utf-8")
    return BadInput(with_model(model), (f"the tokenizer in {model} can't be loaded",), "copy it from the base model")


def no_chat_template(folder: Path) -> BadInput:
    model = copy_model(folder, without=("chat_template.jinja",))
    return BadInput(with_model(model), (f"{model} has no chat template",), "use a chat (instruct) model")


def chat_template_that_does_not_parse(folder: Path) -> BadInput:
    model = copy_model(folder)
    (model / "chat_template.jinja").write_text("{% for message in %}", encoding="utf-8")
    return BadInput(with_model(model), ("The chat template of", str(model)), "refuses the turns")


def chat_template_that_raises(folder: Path) -> BadInput:
    model = copy_model(folder)
    (model / "chat_template.jinja").write_text("{{ messages[0].content + 1 }}", encoding="utf-8")
    return BadInput(with_model(model), ("The chat template of", "TypeError"), "mend it, or choose another model")


def argument_that_the_chat_template_does_not_have(folder: Path) -> BadInput:
    words = bootstrap("--judge.chat-template-kwargs.enable-thinking", "false")
    return BadInput(words, ("The chat template of", "`enable_thinking`"), "take it out of chat_template_kwargs")


def chat_template_that_thinks_without_room(folder: Path) -> BadInput:
    model = copy_model(folder)
    template = (model / "chat_template.jinja").read_text(encoding="utf-8")
    opening = "{% if add_generation_prompt %}<think>\n{% endif %}"
    (model / "chat_template.jinja").write_text(template.rstrip("\n") + opening, encoding="utf-8")
    return BadInput(with_model(model), ("begins every judgment inside <think>",), "--judge.max-thinking 1024")


def code_of_its_own(folder: Path) -> BadInput:
    model = copy_model(folder)
    change_json(model / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Model"})
    return BadInput(with_model(model), ("config.json asks for code of its own (auto_map)",), "choose a model whose")


def model_config_that_is_not_json(folder: Path) -> BadInput:
    model = copy_model(folder)
    (model / "config.json").write_text("{'model_type': 'llama'}", encoding="utf-8")
    return BadInput(with_model(model), ("config.json is not valid JSON",), "copy or download it again")


def architecture_that_is_not_known(folder: Path) -> BadInput:
    model = copy_model(folder)
    change_json(model / "config.json", model_type="hologram", architectures=["HologramForCausalLM"])
    return BadInput(with_model(model), ("config.json", "hologram"), "choose a model whose")


def adapter_instead_of_a_model(folder: Path) -> BadInput:
    model = folder / "model"
    model.mkdir()
    (model / "adapter_config.json").write_text("{}", encoding="utf-8")
    return BadInput(with_model(model), (f"{model} has no config.json", "LoRA adapter"), "merge it into its base first")


def adapter_beside_a_model(folder: Path) -> BadInput:
    model = copy_model(folder)
    settings = {"base_model_name_or_path": "owner/base"}
    (model / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return BadInput(with_model(model), ("a LoRA adapter of owner/base", "not loaded"), "merge it into its base first")


def output_head_that_is_missing(folder: Path) -> BadInput:
    model = copy_model(folder)
    change_json(model / "config.json", tie_word_embeddings=False)
    return BadInput(with_model(model), (f"{model}/config.json", "the weights have none"), "copy the checkpoint again")


def output_head_that_contradicts_the_config(folder: Path) -> BadInput:
    model = copy_model(folder)
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    names = (f"{model}/config.json", "another one (lm_head.weight)")
    return BadInput(with_model(model), names, "set tie_word_embeddings to false if that is the right head")


def vocabulary_larger_than_the_embedding(folder: Path) -> BadInput:
    model = copy_model(folder)
    change_json(model / "config.json", vocab_size=256)
    return BadInput(with_model(model), ("vocab_size 256", "128 rows"), "copy the config that belongs to these weights")


def context_longer_than_the_model(folder: Path) -> BadInput:
    words = bootstrap("--model.max-context", "4096")
    return BadInput(words, ("model.max_context 4096", "512 positions of tiny"), "set it to 512 or less")


def judge_that_does_not_exist(folder: Path) -> BadInput:
    words = ["evaluate", "runs/earlier/star_dpo", "--config", "job.yaml"]
    return BadInput(words, ("runs/earlier/star_dpo is no judge",), "give `llm_judge` or the checkpoint directory")


def unfinished_checkpoint(folder: Path) -> BadInput:
    copy_model(folder)
    words = ["evaluate", "model", "--config", "job.yaml"]
    return BadInput(words, ("model has no completion marker",), "resume the run that writes it")


def _checkpoint(folder: Path, manifest: dict[str, object]) -> Path:
    model = copy_model(folder)
    (model / MARKER).write_text(json.dumps(manifest), encoding="utf-8")
    return model


def finished_stage_that_is_no_checkpoint(folder: Path) -> BadInput:
    _checkpoint(folder, {"stage": "traces/base-part1"})
    words = ["evaluate", "model", "--config", "job.yaml"]
    return BadInput(
        words, ("model holds the stage traces/base-part1", "no checkpoint"), "give the checkpoint directory"
    )


def checkpoint_with_truncated_weights(folder: Path) -> BadInput:
    weights = _checkpoint(folder, {"objective": "dpo", "version": "star_dpo-1"}) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    words = ["evaluate", "model", "--config", "job.yaml"]
    return BadInput(words, ("model/model.safetensors is cut off",), "copy or download it again")


def reward_model_without_its_head(folder: Path) -> BadInput:
    _checkpoint(folder, {"objective": "bradley_terry", "version": "bradley_terry-1"})
    words = ["evaluate", "model", "--config", "job.yaml"]
    return BadInput(words, ("model has no score_head.safetensors",), "give a checkpoint of objective bradley_terry")


def broken_record_of_a_probe_gate(folder: Path) -> BadInput:
    model = _checkpoint(folder, {"objective": "dpo", "version": "star_dpo-1"})
    (model / PROBES_FILE).write_text('{"tallies": 1}', encoding="utf-8")
    words = ["serve", "--serving.checkpoint", "model"]
    return BadInput(words, ("model/_probes.json is no record of a probe gate",), "remove it and evaluate the judge")


def report_of_a_run_without_one(folder: Path) -> BadInput:
    words = ["report", "runs/earlier"]
    return BadInput(words, ("runs/earlier holds no figures yet",), "`genrm-rl status runs/earlier` says how far it is")


def report_that_is_not_json(folder: Path) -> BadInput:
    (folder / "report.json").write_text('{"schema_version":', encoding="utf-8")
    return BadInput(["report", "."], ("report.json is not JSON",), "resume the run to write it again")


def report_of_another_schema(folder: Path) -> BadInput:
    (folder / "report.json").write_text('{"schema_version": 999}', encoding="utf-8")
    return BadInput(["report", "."], ("report.json has schema version 999",), "resume the run to write it again")


MODEL_KINDS = (
    model_that_does_not_exist,
    model_folder_that_does_not_exist,
    hub_model_while_offline,
    revision_of_a_local_model,
    gguf_file_that_is_none,
    truncated_weights,
    git_lfs_pointer_for_weights,
    missing_weight_shard,
    weights_only_as_pickle,
    no_weights,
    no_tokenizer,
    broken_tokenizer,
    no_chat_template,
    chat_template_that_does_not_parse,
    chat_template_that_raises,
    argument_that_the_chat_template_does_not_have,
    chat_template_that_thinks_without_room,
    code_of_its_own,
    model_config_that_is_not_json,
    architecture_that_is_not_known,
    adapter_instead_of_a_model,
    adapter_beside_a_model,
    output_head_that_is_missing,
    output_head_that_contradicts_the_config,
    vocabulary_larger_than_the_embedding,
    context_longer_than_the_model,
)
RESULT_KINDS = (
    judge_that_does_not_exist,
    unfinished_checkpoint,
    finished_stage_that_is_no_checkpoint,
    checkpoint_with_truncated_weights,
    reward_model_without_its_head,
    broken_record_of_a_probe_gate,
    report_of_a_run_without_one,
    report_that_is_not_json,
    report_of_another_schema,
)
