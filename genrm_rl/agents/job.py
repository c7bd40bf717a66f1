"""The agents' job, top to bottom: environment, engines, learners, judge, loop, measurements, report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from genrm_rl.agents.demonstrations import training_tasks
from genrm_rl.agents.episodes import AgentEpisode, read_episodes
from genrm_rl.agents.figures import by_level, figures
from genrm_rl.agents.judging import judged_by
from genrm_rl.agents.playing import EPISODES_FILE, Stage, play_stage, playing_stage
from genrm_rl.agents.rewards import EarnedEpisode
from genrm_rl.agents.step_judge import StepJudge
from genrm_rl.agents.training import AgentLoop, Judge, without_judge
from genrm_rl.alignment.hosts import own_service, policy_engines, reward_client
from genrm_rl.alignment.preflight import check_settings, reserved_cpus
from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.catalogue import EnvironmentSpec, check_environment, find_environment
from genrm_rl.environments.protocol import Split
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.runtime.console import say_on
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.session import logical_cpus, ray_session
from genrm_rl.runtime.storage import write_json
from genrm_rl.runtime.tracking import open_sinks
from placement.roles import learner_models
from placement.room import on_this_machine

if TYPE_CHECKING:
    from genrm_rl.rollout.pool import EnginePool


def train_agent(config: AgentConfig, console: Console, *, must_exist: bool = False) -> Path:
    """Run or continue the job; returns the run directory. The policy is in ``policy/``, figures in ``report.json``.

    Raises GenRMError before anything expensive if an input is bad.
    """
    if must_exist:
        check_exists(config.run)
    spec = find_environment(config.tasks.environment)
    check_environment(spec)
    check_settings(config)
    config = on_this_machine(config, console)
    tasks = training_tasks(config, spec)
    for split, count in (("validation", config.evaluation.validation), ("test", config.evaluation.test)):
        spec.tasks(split, count, config.tasks.level)  # type: ignore[arg-type]
    model = resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path))
    with RunDirectory(config) as run:
        run.claim()
        console.print(
            f"run {run.path}{' (continued)' if run.resumed else ''}: {spec.name}, {len(tasks)} training tasks, policy "
            f"{model.name}",
            highlight=False,
        )
        if not run.done("policy"):
            from genrm_rl.learners.group import work_until_done

            work_until_done(
                lambda: _work(config, run, console, spec, chat, model.path, tasks),
                config.learner,
                lambda line: console.print(line, highlight=False),
            )
        from genrm_rl.agents.report import write_agent_report

        report = write_agent_report(run.path, config, console)
        console.print(f"report: {report}", highlight=False)
    return run.path


def _work(
    config: AgentConfig,
    run: RunDirectory,
    console: Console,
    spec: EnvironmentSpec,
    chat: ChatEncoder,
    model_path: Path,
    tasks: list[Any],
) -> None:
    """Start everything, go through the loop, keep the policy."""
    from genrm_rl.learners.group import learner_groups
    from genrm_rl.learners.policy_updates import new_updates

    say = say_on(console)
    models = learner_models(config) | {"reference": False}  # with adapters it is the policy without its own
    with (
        ray_session(cpus=max(logical_cpus(), math.ceil(reserved_cpus(config)))),
        open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
        learner_groups(models, model_path, config.learner, seed=config.run.seed, say=say) as groups,
        policy_engines(config, model_path, console) as pool,
        playing_stage(config, spec, chat, pool) as stage,
        judge_of(config, run, console) as judge,
        step_judge_of(config, run, chat, pool, console) as step_judge,
    ):
        updates = new_updates(
            groups["policy"],
            groups["reference"],
            groups.get("critic"),
            config.ppo,
            temperature=config.acting.temperature,
            seed=config.run.seed,
            max_skipped=config.learner.max_skipped,
        )
        learning = {name: group for name, group in groups.items() if models[name]}
        measure = measurer(config, run, stage, say)
        if step_judge is not None:
            judge = with_marks(judge, step_judge, run, say)
        AgentLoop(config, run, sink, say, stage, learning, updates, judge, tasks).run(measure)

        def keep(directory: Path) -> dict[str, Any]:
            groups["policy"].save(directory)
            return {
                "objective": "agent",
                "version": f"{config.run.id}-{config.ppo.steps}",
                "parent": str(model_path),
                "steps": config.ppo.steps,
            }

        run.stage("policy", keep)


@contextmanager
def judge_of(config: AgentConfig, run: RunDirectory, console: Console) -> Iterator[Judge]:
    """Who judges episodes: the service at ``reward.url``, one of this job, or nobody."""
    if not config.parts.judge:
        yield without_judge(config)
        return
    with ExitStack() as stack:
        url = config.reward.url or stack.enter_context(own_service(config, console))  # type: ignore[arg-type]
        client = stack.enter_context(reward_client(config, url, console))  # type: ignore[arg-type]
        yield judged_by(client, run, config)


@contextmanager
def step_judge_of(
    config: AgentConfig, run: RunDirectory, chat: ChatEncoder, pool: EnginePool, console: Console
) -> Iterator[StepJudge | None]:
    """Who marks steps: a checkpoint on engines of its own, the policy on its own engines, or nobody."""
    from genrm_rl.rollout.pool import EnginePool

    longest = config.model.max_context
    if not config.parts.steps:
        yield None
    elif config.step_judge.source == "policy":
        yield StepJudge(pool, chat, run, longest)
    else:
        model = config.model.model_copy(update={"name": str(config.step_judge.checkpoint)})
        path = resolve_model(model).path
        with EnginePool(path, config.judge_rollout, model, console=console, role="step judge") as own:
            yield StepJudge(own, ChatEncoder(load_tokenizer(path)), run, longest)


def with_marks(judge: Judge, step_judge: StepJudge, run: RunDirectory, say: Callable[[str], None]) -> Judge:
    """``judge``, and marks of a step judge, which is calibrated on the starting policy's validation episodes first."""

    def earn(step: int, episodes: Sequence[AgentEpisode]) -> list[EarnedEpisode]:
        if step_judge.calibration is None:
            held_out = read_episodes(run.path / "evaluation/validation/00000" / EPISODES_FILE)
            say(step_judge.calibrate("step_judge/validation", held_out).in_words())
        return step_judge.add_marks(step, judge(step, episodes))

    return earn


def measurer(config: AgentConfig, run: RunDirectory, stage: Stage, say: Callable[[str], None]) -> Callable[[int], None]:
    """Measures the served policy: validation before, during and after training, and test tasks before and after."""
    last = config.ppo.steps

    def measure(step: int) -> None:
        ends = step in (0, last)
        if ends or (config.evaluation.every and step % config.evaluation.every == 0):
            measure_split(config, run, stage, "validation", f"evaluation/validation/{step:05d}", say)
        if ends:
            measure_split(config, run, stage, "test", f"evaluation/test/{step:05d}", say)

    return measure


def measure_split(
    config: AgentConfig, run: RunDirectory, stage: Stage, split: Split, name: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Episodes of a split's tasks, as a stage, and their figures beside it."""
    count = config.evaluation.validation if split == "validation" else config.evaluation.test
    tasks = stage.spec.tasks(split, count, config.tasks.level)
    greedy = config.evaluation.decoding == "greedy"
    plays = [(task, config.run.seed) for task in tasks]
    episodes = play_stage(run, name, stage, plays, purpose=name, greedy=greedy, label=name)
    how = {"resamples": config.evaluation.bootstrap_resamples, "seed": config.run.seed}
    found = figures(episodes, **how).as_dict()
    found["levels"] = {level: each.as_dict() for level, each in by_level(episodes, **how).items()}
    write_json(run.path / f"{name}.json", found)  # beside the stage, which is complete
    low, high = found["success_interval"] or (0.0, 0.0)
    share = "no outcome" if found["success"] is None else f"{found['success']:.1%} [{low:.1%}, {high:.1%}]"
    say(f"{name}: success {share}, format {found['format_rate'] or 0.0:.1%}, {len(episodes)} episodes")
    return found
