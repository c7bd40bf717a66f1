"""From a configuration to the groups of bundles that its job will ask Ray for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genrm_rl.config import ON_POLICY, RunConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.model import LearnerConfig, ModelConfig, RolloutConfig
from genrm_rl.config.serving import ServeConfig
from placement.memory import RUNTIME_GIB, Memory, engine, frozen_model, sequences, trained_model
from placement.shapes import ModelShape, shape_of
from placement.turns import in_turns

PolicyConfig = AlignConfig | AgentConfig
JobConfig = RunConfig | PolicyConfig | LoopConfig | ServeConfig


@dataclass(frozen=True)
class Role:
    """Bundles that are wanted together. ``section`` is the configuration section that sizes them.

    ``bundle`` holds Ray resources; all ``count`` bundles of a role are equal. ``memory`` is per GPU; on CPU its total
    counts as memory of the node. ``gpu_share`` is the share of one GPU that ``memory`` may take. ``in_turns``: other
    roles have the same GPUs at other times.
    """

    name: str
    section: str
    count: int
    bundle: dict[str, float]
    pool: str | None
    memory: Memory
    gpu_share: float
    learns: bool = False
    in_turns: bool = False

    @property
    def gpus(self) -> float:
        """GPUs of all bundles."""
        return self.count * self.bundle.get("GPU", 0.0)


@dataclass(frozen=True)
class Phase:
    """Roles that are alive at the same time."""

    name: str
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class PlacementPlan:
    """All phases of a job, one after the other; each must fit by itself."""

    phases: tuple[Phase, ...]

    @property
    def roles(self) -> list[Role]:
        """Every role of every phase."""
        return [role for phase in self.phases for role in phase.roles]


def engine_bundle(rollout: RolloutConfig, device: str) -> dict[str, float]:
    """What one engine occupies. Its GPUs are in one bundle: tensor parallelism does not leave a node."""
    if device == "cuda":
        return {"GPU": float(rollout.tensor_parallel) * rollout.gpu_share, "CPU": 1.0}
    return {"CPU": float(rollout.cpus_per_engine)}


def learner_bundle(learner: LearnerConfig, models: int = 1) -> dict[str, float]:
    """What worker ``i`` of all ``models`` together occupies: CPUs each, one GPU (or share of it) for all."""
    bundle = {"CPU": float(learner.cpus_per_worker) * models}
    return bundle | {"GPU": float(learner.gpus_per_worker)} if learner.gpus_per_worker else bundle


def plan(config: JobConfig) -> PlacementPlan:
    """The plan of a job. Pure: looks at no cluster. Raises ModelError if a model's sizes are not known."""
    config = in_turns(config)
    if isinstance(config, RunConfig):
        return PlacementPlan((bootstrap_phase(config),))
    if isinstance(config, PolicyConfig):
        return PlacementPlan((align_phase(config),))
    if isinstance(config, ServeConfig):
        judge = judge_role(config.model, config.rollout, config.serving.max_replicas, "")
        return PlacementPlan((Phase("serve", (judge,)),))
    judged = config.policy.model_copy(update={"judge_model": config.judge.model})
    return PlacementPlan((bootstrap_phase(config.judge, "judge."), align_phase(judged, "policy.")))


def bootstrap_phase(config: RunConfig, prefix: str = "") -> Phase:
    """Engines stay while a learner fits, so both count."""
    shape = shape_of(config.model)
    models = bootstrap_models(config)
    memory = shared_memory(models, shape, config.learner)
    roles = (
        _engines("judge engines", config.rollout, config.model, shape, prefix),
        _learners("judge learner", config.learner, memory, prefix, len(models)),
    )
    lives_on = any(method in ON_POLICY for method in config.bootstrap.methods)  # other fits end before engines work
    resting = models if lives_on else {}
    return Phase("bootstrap", _taking_turns(roles, resting, shape, config.learner) if _shared(config) else roles)


def align_phase(config: PolicyConfig, prefix: str = "") -> Phase:
    """Policy, reference and critic share the learner's bundles and take turns; engines and judges have their own."""
    shape = shape_of(config.model)
    models = learner_models(config)
    memory = shared_memory(models, shape, config.learner)
    roles = [
        _learners(", ".join(models), config.learner, memory, prefix, len(models)),
        _engines("policy engines", config.rollout, config.model, shape, prefix),
    ]
    if config.serves_judge:
        roles.append(
            judge_role(config.judge_model, config.judge_rollout, config.serving.max_replicas, prefix, "judge_rollout")
        )
    if marks_steps(config):  # a model of the policy's kind, on engines as the judge's
        roles.append(_engines("step judge", config.judge_rollout, config.model, shape, prefix, "judge_rollout"))
    name = "agents" if isinstance(config, AgentConfig) else "align"
    return Phase(name, _taking_turns(roles, models, shape, config.learner) if _shared(config) else tuple(roles))


def marks_steps(config: RunConfig | PolicyConfig) -> bool:
    """Whether a step judge has engines of its own."""
    return isinstance(config, AgentConfig) and config.parts.steps > 0 and config.step_judge.source == "checkpoint"


def _shared(config: RunConfig | PolicyConfig) -> bool:
    return not isinstance(config, AgentConfig) and config.placement == "shared" and config.learner.gpus_per_worker > 0


def _taking_turns(
    roles: Sequence[Role], models: Mapping[str, bool], shape: ModelShape, learner: LearnerConfig
) -> tuple[Role, ...]:
    """Each role has the GPU but for what the processes of the others keep on it, and a place on the host for what it
    brings there: ``models`` of learners that live on, and the weights of a served judge, which nobody publishes anew.
    Other engines drop theirs."""
    engines, moved = sum(not role.learns for role in roles), moved_gib(models, shape, learner)

    def in_its_turn(role: Role) -> Role:
        if role.learns:
            asleep, host, share = float(engines), role.memory.host + moved, 1.0
        else:
            asleep, share = len(models) / engines, role.gpu_share
            host = role.memory.host if role.name == "judge" else 0.0
        memory = Memory(role.memory.parts | {"asleep": asleep * RUNTIME_GIB}, host)
        return replace(role, memory=memory, gpu_share=share, in_turns=True)

    return tuple(map(in_its_turn, roles))


def moved_gib(models: Mapping[str, bool], shape: ModelShape, learner: LearnerConfig) -> float:
    """What a worker of each of ``models`` brings to the host when engines get its GPU, together: what is there between
    two steps."""
    return sum(
        memory.parts["weights"] + memory.parts.get("optimizer", 0.0)
        for memory in ((trained_model if learns else frozen_model)(shape, learner) for learns in models.values())
    )


def shared_memory(models: Mapping[str, bool], shape: ModelShape, learner: LearnerConfig) -> Memory:
    """What models that take turns in one place need together; a single one is a fit."""
    if len(models) == 1:
        return trained_model(shape, learner)
    parts: dict[str, float] = {}
    host = 0.0
    for name, trained in models.items():
        memory = (trained_model if trained else frozen_model)(shape, learner)
        shared = {part: memory.parts[part] for part in ("gathered", "activations")}  # of the model whose turn it is
        parts[name] = memory.total - sum(shared.values())
        parts |= {part: max(parts.get(part, 0.0), amount) for part, amount in shared.items()}
        host += memory.host
    return Memory(parts, host)


def bootstrap_models(config: RunConfig) -> dict[str, bool]:
    """Models in the learner's bundles at the most demanding moment, and whether they learn."""
    methods, teacher = config.bootstrap.methods, config.bootstrap.self_distilled.teacher
    two = "verdict_rl" in methods or ("self_distilled" in methods and teacher == "start")
    return loaded_models({"judge": True} | ({"reference": False} if two else {}), config.learner)


def learner_models(config: PolicyConfig) -> dict[str, bool]:
    """Models in the learner's bundles, and whether they learn."""
    critic = {"critic": True} if config.method == "ppo" and config.ppo.advantage == "gae" else {}
    return loaded_models({"policy": True, **critic, "reference": False}, config.learner)


def loaded_models(models: Mapping[str, bool], learner: LearnerConfig) -> dict[str, bool]:
    """Those of ``models`` that are loaded: where adapters learn, a frozen model is the policy with its adapter off."""
    return {role: learns for role, learns in models.items() if learns or not learner.lora_rank}


def judge_role(
    model: ModelConfig, rollout: RolloutConfig, replicas: int, prefix: str, section: str = "rollout"
) -> Role:
    """The judge's replicas at full load."""
    return replace(_engines("judge", rollout, model, shape_of(model), prefix, section), count=replicas)


def concurrent_sequences(config: AlignConfig, gpu_gib: float) -> tuple[int, int]:
    """Full-length sequences that one policy engine and one judge replica can hold."""
    return (
        sequences(shape_of(config.model), config.rollout, config.model, gpu_gib),
        sequences(shape_of(config.judge_model), config.judge_rollout, config.judge_model, gpu_gib),
    )


def _engines(
    name: str, rollout: RolloutConfig, model: ModelConfig, shape: ModelShape, prefix: str, section: str = "rollout"
) -> Role:
    return Role(
        name,
        prefix + section,
        rollout.engines,
        engine_bundle(rollout, "cuda" if rollout.device == "cuda" else "cpu"),
        rollout.pool,
        engine(shape, rollout, model),
        rollout.gpu_memory_utilization,
    )


def _learners(name: str, learner: LearnerConfig, memory: Memory, prefix: str, models: int = 1) -> Role:
    share = min(1.0, learner.gpus_per_worker or 1.0)
    bundle = learner_bundle(learner, models)
    return Role(name, f"{prefix}learner", learner.workers, bundle, learner.pool, memory, share, learns=True)
