"""Commands of ``genrm-rl`` about machines, models and environments; those of jobs are in :mod:`genrm_rl.cli`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from genrm_rl.cli_options import CONFIGS, OVERRIDES, ConfigOption, config_from, console
from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.errors import ConfigError
from genrm_rl.settings_help import epilog

ROOT = Path(__file__).resolve().parents[1]
# An installed package has the same pools as a preset.
CLUSTERS = (ROOT / "ray_cluster.yaml", ROOT / "placement/presets/clusters/gcp.yaml")
CLUSTER = next((file for file in CLUSTERS if file.is_file()), CLUSTERS[0])

tools = typer.Typer()


@tools.command(epilog=epilog("init"))
def init(
    pairs: Annotated[Path | None, typer.Option(help="your preference pairs: a file or folder (docs/data.md)")] = None,
    model: Annotated[
        str | None, typer.Option(help="`tiny`, `smollm2`, a hub id, a model's directory or a GGUF file")
    ] = None,
    out: Annotated[Path, typer.Option(help="the configuration to write; never overwritten")] = Path("first.yaml"),
    run_id: Annotated[str | None, typer.Option("--id", help="of the run; none: the name of --out")] = None,
) -> None:
    """Look at your pairs, your model and this machine, and write a commented configuration of a first run. On a
    terminal it asks for what is not given."""
    from genrm_rl.bootstrap.first_config import write_first_config

    asks = sys.stdin.isatty()
    if not asks and (pairs is None or model is None):
        raise ConfigError(f"{'--pairs' if pairs is None else '--model'} is not given, and no terminal can be asked")
    pairs = pairs or Path(typer.prompt("preference pairs (file or folder)"))
    model = model or str(typer.prompt("model (name or path)", default="smollm2"))
    console.print(write_first_config(pairs, model, out, run_id), highlight=False, markup=False)
    for what, more in (("what it would do", " --dry-run"), ("run it", "")):
        console.print(f"{what}: genrm-rl bootstrap --config {shlex.quote(str(out))}{more}", highlight=False)


@tools.command(context_settings=OVERRIDES, epilog=epilog("plan"))
def plan(
    context: typer.Context,
    cluster: Annotated[Path, typer.Option(help="cluster file: `ray up` YAML or KubeRay")] = CLUSTER,
    config: ConfigOption = None,
    suggest: Annotated[
        str,
        typer.Option(
            help="propose sizes: `split` (GPUs of its own for every role), `colocated`, `shared` (in turn), or `any`"
        ),
    ] = "",
) -> None:
    """What a job needs, role by role, and whether the node types of a cluster file can ever hold it (exit status 2
    if not)."""
    from placement.command import plan_job

    if not plan_job(config or [CONFIGS / "align_tiny.yaml"], context.args, cluster, suggest=suggest, console=console):
        raise typer.Exit(2)


@tools.command(context_settings=OVERRIDES, epilog=epilog("doctor"))
def doctor(context: typer.Context, config: ConfigOption = None) -> None:
    """Check versions, devices, memory, imports, models and data; exits with 1 if something needed is missing."""
    from genrm_rl.selftest.doctor import print_report, run_doctor

    found = run_doctor(config_from(context, config))
    print_report(found, console)
    if not found.healthy:
        raise typer.Exit(1)


@tools.command(epilog=epilog("selftest"))
def selftest(
    checks: Annotated[list[str] | None, typer.Argument(help="names of checks; none: all")] = None,
    out: Annotated[Path, typer.Option(help="folder of selftest.json and the logs")] = Path("runs/selftest"),
    device: Annotated[str, typer.Option(help="`auto` (a GPU if there is one), `cpu` or `cuda`")] = "auto",
) -> None:
    """Prove this machine in minutes, without network: learner, engine, publication, memory, speed, a short alignment.
    Exits with 1 if a check fails."""
    from genrm_rl.selftest.command import run_selftest

    if not run_selftest(out, checks or [], device, console):
        raise typer.Exit(1)


@tools.command(context_settings=OVERRIDES, epilog=epilog("play"))
def play(
    context: typer.Context,
    environment: Annotated[
        str, typer.Argument(help="an environment, or `list` for all of them with their splits; your own: module:SPEC")
    ],
    policy: Annotated[
        str, typer.Option(help="`gold` (the known solution), `random` (admissible actions) or `human`")
    ] = "human",
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    level: Annotated[str, typer.Option(help="difficulty or kind of task; empty: all, in turns")] = "",
    index: Annotated[int, typer.Option(help="number of the first task within its level")] = 0,
    episodes: Annotated[int, typer.Option(help="one is shown turn by turn, several as a table", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="of the random policy")] = 0,
    config: ConfigOption = None,
) -> None:
    """Play episodes of an environment for agents."""
    from genrm_rl.evaluation import play as playing

    settings = load_config(EnvironmentConfig, config, context.args)
    if environment == "list":
        return playing.list_environments(console)
    playing.play(
        environment, policy, settings, console, split=split, level=level, index=index, episodes=episodes, seed=seed
    )


@tools.command(context_settings=OVERRIDES, epilog=epilog("models"))
def models(context: typer.Context, config: ConfigOption = None) -> None:
    """List the models that can be used here, their size, and where they come from."""
    from genrm_rl.models import list_models

    table = Table("name", "available", "size", Column("origin", overflow="fold"), title="models")
    for model in list_models(config_from(context, config).model):
        table.add_row(model.name, "yes" if model.available else "no", model.size, model.origin)
    console.print(table)
