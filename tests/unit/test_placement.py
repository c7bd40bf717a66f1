"""Plans of all presets against their cluster files, the memory model, and twenty plans that can never run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from genrm_rl.config import ModelConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import ConfigError, EnvironmentProblem, GenRMError, ModelError
from placement.check import check
from placement.cluster_file import read_cluster
from placement.command import load_job
from placement.hardware import ACCELERATOR_LABEL, GPUS
from placement.ladder import ladder
from placement.layouts import LAYOUT_COLUMNS, RATE_COLUMNS, layout_rows, rate_rows, table
from placement.memory import RUNTIME_GIB, engine, sequences, trained_model
from placement.roles import learner_models, plan
from placement.shapes import shape_of
from placement.show import reasons
from placement.suggest import LAYOUTS, compare, overlay, recommended, suggest, times_on
from placement.times import comparisons_per_step, judge_gpu_hours_per_million

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "jobs" / "configs"
PRESETS = ROOT / "placement" / "presets"
CLUSTERS = PRESETS / "clusters"
AWS = ROOT / "ray_cluster.yaml"
ALIGN = CONFIGS / "align_llama8b.yaml"
JUDGED = ["--judge-model.name", "meta-llama/Llama-3.1-8B-Instruct", "--judge-rollout.device", "cuda"]
LAUNCHER_FILES = [AWS, *(path for path in sorted(CLUSTERS.glob("*.yaml")) if path.name != "kuberay.yaml")]


def first_line(preset: Path) -> list[str]:
    """The words of the command that made a preset."""
    return preset.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split()


def options(words: list[str], name: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == name]


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.stem)
def test_cluster_files_are_valid_for_ray(path):
    import json

    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


def test_every_gpu_pool_has_a_label_by_which_roles_find_it_and_a_known_gpu():
    for path in (AWS, CLUSTERS / "gcp.yaml", CLUSTERS / "kuberay.yaml"):
        pools = {node.pool: node for node in read_cluster(path).node_types if node.resources.get("GPU")}
        assert set(pools) == {"learner", "rollout", "judge"}, path
        assert all(node.gpu is not None and node.least == 0 and node.most > 0 for node in pools.values()), path
        assert not pools["learner"].spot


def test_the_cloud_pools_are_the_same_in_every_file():
    for name in ("learner", "rollout", "judge"):
        counts = {
            path.name: next(node.most for node in read_cluster(path).node_types if node.pool == name)
            for path in (AWS, CLUSTERS / "gcp.yaml", CLUSTERS / "kuberay.yaml")
        }
        assert len(set(counts.values())) == 1, counts


@pytest.mark.parametrize(
    "words", [[], ["--parts.judge", "1", "--rollout.engines", "3", *JUDGED]], ids=["plain", "judged"]
)
def test_agents_have_a_plan_too(words):
    config = load_job([CONFIGS / "agents_8b.yaml"], words)
    planned = plan(config)
    assert [role.name for role in planned.roles][:2] == ["policy, reference", "policy engines"]
    assert ("judge" in [role.name for role in planned.roles]) == bool(words)
    assert sum(role.gpus for role in planned.roles) == 8
    assert check(planned, read_cluster(CLUSTERS / "one_node.yaml")).problems == []


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_fits_its_cluster_and_is_what_its_command_prints(preset):
    words = first_line(preset)
    files = [ROOT / file for file in options(words, "--config")]
    cluster = read_cluster(ROOT / options(words, "--cluster")[0])
    laid_over = load_job([*files, preset], [])
    assert check(plan(laid_over), cluster).problems == []
    chosen, _ = suggest(load_config(AlignConfig, files), cluster, options(words, "--suggest")[0])
    assert yaml.safe_load(preset.read_text(encoding="utf-8")) == overlay(chosen)


def test_eight_gpus_that_8b_roles_have_in_turn_shorten_the_modelled_step_from_215_to_125_seconds_or_less():
    config, cluster = load_config(AlignConfig, ALIGN), read_cluster(CLUSTERS / "one_node.yaml")
    found = {each.layout: each for each in compare(config, cluster)}
    assert found["split"].times.step == pytest.approx(215, abs=0.5)
    assert found["shared"].times.step <= 125
    assert recommended(list(found.values())) is found["shared"]
    assert found["shared"].times.turns > 0 and found["split"].times.turns == 0


def test_small_models_that_fit_beside_each_other_are_not_moved_about():
    config, cluster = load_config(AlignConfig, CONFIGS / "align_smollm2.yaml"), read_cluster(CLUSTERS / "one_node.yaml")
    found = compare(config, cluster)
    assert recommended(found).layout == "colocated"
    said = reasons(found)
    assert said[0].startswith("recommended: colocated") and len(said) == len(LAYOUTS)


def test_a_layout_that_does_not_fit_is_named_with_its_reason():
    config = load_config(AlignConfig, ALIGN, ["--learner.tokens-per-microbatch", "150000"])
    found = compare(config, read_cluster(CLUSTERS / "one_node.yaml"))
    shared = next(each for each in found if each.layout == "shared")
    assert shared.times is None
    assert "placement fixed with learner.zero_stage 3" in shared.reason
    with pytest.raises(EnvironmentProblem, match="holds this job; the last one tried"):
        suggest(config, read_cluster(CLUSTERS / "one_node.yaml"), "shared")


def test_roles_in_turn_count_what_the_others_keep_and_bring_to_the_host():
    files = [ALIGN, PRESETS / "one_node_llama8b_shared.yaml"]
    roles = {role.name: role for role in plan(load_config(AlignConfig, files)).roles}
    learner, engines, judge = roles["policy, reference"], roles["policy engines"], roles["judge"]
    assert learner.gpu_share == 1.0 and sum(role.bundle["GPU"] for role in roles.values()) == pytest.approx(1)
    assert learner.memory.parts["asleep"] == 2 * RUNTIME_GIB, "an engine of the policy and one of the judge"
    assert engines.memory.parts["asleep"] == judge.memory.parts["asleep"] == RUNTIME_GIB
    parameters = shape_of(load_config(AlignConfig, files).model).parameters
    assert learner.memory.host == pytest.approx((2 + 2 + 12 / 8) * parameters / 2**30), "both models, master weights"
    assert (engines.memory.host, judge.memory.host) == (0.0, pytest.approx(2 * parameters / 2**30))


@pytest.mark.parametrize("name", ["quickstart", "bootstrap_tiny", "align_tiny", "loop_tiny", "serve_tiny"])
def test_the_small_jobs_fit_a_laptop(name):
    verdict = check(plan(load_job([CONFIGS / f"{name}.yaml"], [])), read_cluster(CLUSTERS / "laptop.yaml"))
    assert verdict.problems == []


@pytest.mark.parametrize(("cluster", "reference"), [("one_gpu", 131), ("one_node", 32), ("four_nodes", 8)])
def test_a_policy_of_70b_is_refused_with_the_memory_that_it_lacks(cluster, reference):
    config = load_config(AlignConfig, CONFIGS / "align_llama70b.yaml")
    with pytest.raises(EnvironmentProblem, match=rf"need \d+ GiB per GPU .*reference {reference}"):
        suggest(config, read_cluster(CLUSTERS / f"{cluster}.yaml"))


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.1345),
        ("Qwen/Qwen2.5-7B-Instruct", 7.62),
        ("meta-llama/Llama-3.2-1B-Instruct", 1.236),
        ("meta-llama/Llama-3.1-8B-Instruct", 8.03),
        ("meta-llama/Llama-3.1-70B-Instruct", 70.55),
    ],
)
def test_parameters_of_well_known_models(name, billions):
    assert shape_of(ModelConfig(name=name)).parameters / 1e9 == pytest.approx(billions, rel=0.001)


def test_the_shipped_model_has_the_parameters_that_its_files_say(tiny_model):
    assert shape_of(ModelConfig(name="tiny")).parameters == pytest.approx(tiny_model.parameters, rel=0.001)


def test_memory_of_a_learner_follows_zero():
    config = load_config(AlignConfig, CONFIGS / "align_llama8b.yaml")
    shape = shape_of(config.model)
    four = config.learner.model_copy(update={"workers": 4, "zero_stage": 3})
    alone = trained_model(shape, config.learner.model_copy(update={"workers": 1}))
    sharded = trained_model(shape, four)
    assert alone.parts["optimizer"] == pytest.approx(12 * shape.parameters / 2**30)
    assert sharded.parts["optimizer"] == pytest.approx(alone.parts["optimizer"] / 4)
    assert sharded.parts["gradients"] == pytest.approx(alone.parts["gradients"] / 4)
    assert sharded.parts["weights"] == pytest.approx(alone.parts["weights"] / 4)
    assert sharded.parts["gathered"] == pytest.approx(2e9 / 2**30), "DeepSpeed keeps at most 1e9 parameters whole"
    assert alone.parts["gathered"] == 0
    offloaded = trained_model(shape, four.model_copy(update={"offload": "optimizer"}))
    assert offloaded.parts["optimizer"] == 0
    assert offloaded.host == pytest.approx(sharded.parts["optimizer"])


def test_keys_and_values_of_llama_8b():
    config = load_config(AlignConfig, CONFIGS / "align_llama8b.yaml")
    shape = shape_of(config.model)
    assert shape.kv_bytes(2) == 128 * 1024
    two = config.rollout.model_copy(update={"tensor_parallel": 2})
    whole, half = engine(shape, config.rollout, config.model), engine(shape, two, config.model)
    assert half.total == pytest.approx(whole.total / 2)
    assert sequences(shape, two, config.model, 80.0) > 2 * sequences(shape, config.rollout, config.model, 80.0)


def test_more_engines_shorten_generation_only():
    config = load_config(AlignConfig, [CONFIGS / "align_llama8b.yaml", PRESETS / "aws_llama8b.yaml"])
    cluster = read_cluster(AWS)
    before = times_on(config, cluster)
    engines = config.rollout.model_copy(update={"engines": 2 * config.rollout.engines})
    after = times_on(config.model_copy(update={"rollout": engines}), cluster)
    assert after.generate < before.generate
    assert (after.judge, after.train, after.publish) == (before.judge, before.train, before.publish)


def test_the_judges_cost_grows_with_votes_and_not_with_questions():
    config = load_config(AlignConfig, [CONFIGS / "align_llama8b.yaml", PRESETS / "aws_llama8b.yaml"])

    def cost(**changed: dict) -> float:
        other = config.model_copy(
            update={name: getattr(config, name).model_copy(update=to) for name, to in changed.items()}
        )
        return judge_gpu_hours_per_million(other, times_on(other, read_cluster(AWS)))

    assert comparisons_per_step(config) == 128 * 8, "circular: each answer meets the next one"
    assert cost(reward={"votes": 4}) == pytest.approx(4 * cost(), rel=0.01)
    assert cost(ppo={"prompts_per_step": 256}) == pytest.approx(cost(), rel=0.01)


def test_every_accelerator_of_a_cluster_file_is_a_known_name():
    for path in LAUNCHER_FILES:
        labels = [node.labels.get(ACCELERATOR_LABEL) for node in read_cluster(path).node_types]
        assert {label for label in labels if label} <= set(GPUS)


SPLIT = PRESETS / "aws_llama8b.yaml"
BOOTSTRAP = CONFIGS / "llama8b_ultrafeedback.yaml"
BROKEN = [
    (
        "engine wider than a node",
        SPLIT,
        "--rollout.tensor-parallel 16",
        r"16 GPU on one node .*`rollout`, has 4; lower",
    ),
    (
        "judge wider than a node",
        SPLIT,
        "--judge-rollout.tensor-parallel 8",
        r"judge need 8 GPU .*judge_rollout.tensor_p",
    ),
    ("too many engines", SPLIT, "--rollout.engines 64", r"8 of `rollout` \(max_workers 8\).*lower rollout.engines"),
    ("too many replicas", SPLIT, "--serving.max-replicas 20", r"do not hold all judge; lower serving.max_replicas"),
    ("too many workers", SPLIT, "--learner.workers 64", r"max_workers 4\).*lower learner.workers"),
    ("unknown pool", SPLIT, "--learner.pool lerner", r"learner.pool is 'lerner'.*did you mean learner\?"),
    ("unknown engine pool", SPLIT, "--rollout.pool gpu", r"rollout.pool is 'gpu'.*its pools: "),
    ("unknown judge pool", SPLIT, "--judge-rollout.pool jugde", r"judge_rollout.pool is 'jugde'.*did you mean judge\?"),
    ("too many CPUs", SPLIT, "--learner.cpus-per-worker 150", r"need 300 CPU .*`learner`, has 192; lower learner.cpus"),
    (
        "learner on small GPUs",
        SPLIT,
        "--learner.pool rollout --learner.workers 3 --learner.zero-stage 3",
        r"need 56 GiB per GPU .*`rollout` gives them 44; try learn",
    ),
    ("unsharded", SPLIT, "--learner.workers 1 --learner.zero-stage 0", r"need 154 GiB per GPU .*zero_stage 3"),
    ("microbatch", SPLIT, "--learner.tokens-per-microbatch 262144", r"activations \d+.*a lower tokens_per_microbatch"),
    (
        "no checkpointing",
        SPLIT,
        "--learner.gradient-checkpointing false --learner.tokens-per-microbatch 32768",
        r"activations .*gradient_checkpointing",
    ),
    ("context", SPLIT, "--model.max-context 262144", r"policy engines need .*one sequence 32.*shorter max_context"),
    ("little memory", SPLIT, "--rollout.gpu-memory-utilization 0.3", r"need 15 GiB .*gives them 13; try .*utilization"),
    ("two ranks on a GPU", SPLIT, "--learner.gpus-per-worker 0.5", r"lets two workers land on one GPU, which NCCL"),
    ("two GPUs for a rank", SPLIT, "--learner.gpus-per-worker 2", r"a worker drives one GPU; raise workers"),
    ("a judge of 70B", SPLIT, "--judge-model.name meta-llama/Llama-3.1-70B-Instruct", r"judge need 67 GiB .*gives"),
    ("unknown model", SPLIT, "--model.name acme/mystery-8b", r"sizes of acme/mystery-8b are not known here; give"),
    (
        "share and parallel",
        SPLIT,
        "--rollout.tensor-parallel 2 --rollout.gpu-share 0.5",
        r"can't be combined with tensor",
    ),
    ("memory over share", SPLIT, "--rollout.gpu-share 0.5", r"gpu_memory_utilization 0.85 is above gpu_share 0.5"),
    (
        "bootstrap of 70B",
        BOOTSTRAP,
        "--model.name meta-llama/Llama-3.1-70B-Instruct",
        r"judge learner need \d+ GiB per",
    ),
]


@pytest.mark.parametrize(("what", "file", "words", "sentence"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_plan_that_can_never_run_is_named_in_one_sentence(what, file, words, sentence):
    files = [ALIGN, file] if file == SPLIT else [file]
    try:
        problems = check(plan(load_job(files, words.split())), read_cluster(AWS)).problems
    except (ConfigError, ModelError) as problem:
        problems = [str(problem)]
    assert len(problems) == 1, problems
    import re

    assert re.search(sentence, problems[0]), problems[0]
    assert "\n" not in problems[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1", "is not valid YAML"),
        ("a: 1", "is no cluster file"),
        ("head_node_type: h\navailable_node_types: {x: {resources: {}, node_config: {}}}", "'h' is not among x"),
        ("kind: RayCluster\nspec: {}", "has no headGroupSpec"),
    ],
)
def test_a_file_that_is_no_cluster_file_is_named(tmp_path, text, sentence):
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GenRMError, match=sentence):
        read_cluster(path)


def test_a_learner_on_spot_nodes_is_a_warning():
    words = ["--learner.pool", "rollout", "--learner.tokens-per-microbatch", "1024", "--learner.workers", "16"]
    config = load_config(AlignConfig, [ALIGN, SPLIT], words)
    verdict = check(plan(config), read_cluster(AWS))
    assert any("spot" in warning for warning in verdict.warnings)


def test_a_job_that_its_cluster_file_can_never_hold_ends_before_anything_starts(tmp_path):
    from placement.room import check_plan

    words = ["--run.cluster", str(AWS), "--rollout.tensor-parallel", "16"]
    with pytest.raises(EnvironmentProblem, match=r"policy engines need 16 GPU on one node"):
        check_plan(load_config(AlignConfig, [ALIGN, SPLIT], words))
    check_plan(load_config(AlignConfig, [ALIGN, SPLIT], words[:2]))


def test_later_files_are_laid_over_earlier_ones_and_errors_name_the_line_of_the_right_one(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("ppo: {steps: 3, epochs: 2}\nprompts: {train: [{world: train}, {world: gate}]}\n")
    second.write_text("ppo:\n  steps: 7\nprompts: {train: [{world: train}]}\n")
    laid = load_config(AlignConfig, [first, second])
    assert (laid.ppo.steps, laid.ppo.epochs, len(laid.prompts.train)) == (7, 2, 1)
    second.write_text("ppo:\n  steps: 0\n")
    with pytest.raises(ConfigError, match=r"second.yaml:2: ppo.steps"):
        load_config(AlignConfig, [first, second])


def test_the_ladder_of_the_scale_page_is_what_the_command_prints():
    assert ladder() in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_layouts_and_rates_of_the_gpu_page_are_what_the_command_prints():
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert table(LAYOUT_COLUMNS, layout_rows()) in page
    assert table(RATE_COLUMNS, rate_rows()) in page


def test_a_reference_of_a_lora_adapter_takes_no_room():
    config = AlignConfig()
    adapters = config.model_copy(update={"learner": config.learner.model_copy(update={"lora_rank": 8})})
    assert learner_models(config) == {"policy": True, "reference": False}
    assert learner_models(adapters) == {"policy": True}
    learners = [plan(each).roles[0] for each in (config, adapters)]
    assert learners[1].bundle["CPU"] == learners[0].bundle["CPU"] / 2
    assert learners[1].memory.total < learners[0].memory.total
