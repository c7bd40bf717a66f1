"""The command ``genrm-rl``: one sub-command per job. Heavy imports happen inside the commands, so ``--help`` is
instant."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.text import Text

from genrm_rl import __version__
from genrm_rl.choices import Rule
from genrm_rl.cli_agents import agents
from genrm_rl.cli_completion import CompletedCommand
from genrm_rl.cli_options import CONFIGS, OVERRIDES, ConfigOption, config_from, console
from genrm_rl.cli_pages import pages
from genrm_rl.cli_tools import tools
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.serving import ServeConfig
from genrm_rl.dry_run import preview
from genrm_rl.errors import ConfigError, GenRMError
from genrm_rl.judging.types import Asked
from genrm_rl.runtime.console import people_console, plain_log
from genrm_rl.settings_help import asks_for_settings, epilog, print_settings

INTERRUPTED = 130  # exit status of a command that ctrl-C ended
JOBS = ("quickstart", "bootstrap", "evaluate", "benchmark", "best-of", "align", "loop", "label")
AGENT_JOBS = ("clone-agent", "train-agent", "evaluate-agent", "collect-episodes", "train-step-judge")
RESUMABLE = (*JOBS, *AGENT_JOBS)

app = typer.Typer(
    name="genrm-rl",
    help="Train a generative reward model, evaluate it, serve it, and report what came out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(agents)
app.add_typer(tools)
app.add_typer(pages)

FormOption = Annotated[str, typer.Option(help="how a language model judges: `cot`, `direct`, or `points`")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="print what differs from the defaults, the data and the plan, then stop")
]
All = Annotated[bool, typer.Option("--all", help="with --dry-run: every setting")]
Resume = Annotated[bool, typer.Option("--resume", help="insist that the run exists already and continue it")]
Rejudge = Annotated[
    bool,
    typer.Option("--rejudge", help="continue the run from the first step that lost its rewards: ask for these again"),
]


def known_form(form: str) -> Asked:
    """Raises ConfigError for what is no way to ask a judge."""
    if form not in get_args(Asked):
        raise ConfigError(f"--form {form} is not a way to ask a judge; choose cot, direct or points")
    return form  # type: ignore[return-value]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """Train a generative reward model, evaluate it, serve it, and report what came out."""
    if version:
        console.print(f"genrm-rl {__version__}")
        raise typer.Exit


@app.command(context_settings=OVERRIDES, epilog=epilog("quickstart"))
def quickstart(context: typer.Context, dry_run: DryRun = False, every: All = False) -> None:
    """One turn of the closed loop on the shipped tiny model, in minutes on two cores."""
    settings = load_config(LoopConfig, CONFIGS / "quickstart.yaml", context.args)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.stories.close_loop import run_loop

    run_loop(settings, console)


@app.command(context_settings=OVERRIDES, epilog=epilog("bootstrap"))
def bootstrap(
    context: typer.Context,
    config: ConfigOption = None,
    dry_run: DryRun = False,
    every: All = False,
    resume: Resume = False,
) -> None:
    """Train and compare judges: STaR rounds, baselines, gate, evaluation, report. The same --run.id continues a run."""
    settings = config_from(context, config)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.stories.bootstrap_genrm import run_bootstrap

    run_bootstrap(settings, console, must_exist=resume)


@app.command(context_settings=OVERRIDES, epilog=epilog("evaluate"))
def evaluate(
    context: typer.Context,
    judge: Annotated[str, typer.Argument(help="`llm_judge` (the untrained model) or a checkpoint directory of a run")],
    config: ConfigOption = None,
    form: FormOption = "cot",
    dry_run: DryRun = False,
    every: All = False,
) -> None:
    """Score one judge on the test sets of a config: accuracy with intervals, consistency, calibration."""
    settings, asked = config_from(context, config), known_form(form)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.stories.evaluate_genrm import evaluate_judge

    evaluate_judge(settings, judge, asked, console)


@app.command(context_settings=OVERRIDES, epilog=epilog("benchmark"))
def benchmark(
    context: typer.Context,
    judge: Annotated[str, typer.Argument(help="`llm_judge` (the untrained model) or a checkpoint directory of a run")],
    suite: Annotated[
        str, typer.Option(help="rewardbench, rewardbench2, rm_bench, judgebench, rmb, ppe, pandalm or autoj")
    ],
    path: Annotated[list[Path], typer.Option(help="the published file; given again: several files")],
    config: ConfigOption = None,
    form: FormOption = "cot",
    dry_run: DryRun = False,
    every: All = False,
) -> None:
    """Score one judge on a published benchmark by the benchmark's own rule, with its headline first. The same command
    goes on after a kill. Without --config the judge is asked as in the run that made it."""
    from genrm_rl.evaluation.benchmark import benchmark_config, run_benchmark

    settings = benchmark_config(suite, judge, path, config, context.args)
    if dry_run:
        return preview(settings, console, every=every)
    run_benchmark(settings, suite, judge, known_form(form), console)


@app.command("best-of", context_settings=OVERRIDES, epilog=epilog("best-of"))
def best_of(
    context: typer.Context,
    judge: Annotated[str, typer.Argument(help="`llm_judge` (the untrained model) or a checkpoint directory of a run")],
    path: Annotated[Path, typer.Option(help="file of prompts, each with a list of `responses`")],
    rule: Annotated[
        str, typer.Option(help="as of /v1/rewards; empty: points if the judge gives them, else round_robin")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="where to write the winners, besides the run directory")] = None,
    config: ConfigOption = None,
    form: FormOption = "cot",
    dry_run: DryRun = False,
    every: All = False,
) -> None:
    """Choose the best of n answers to every prompt of a file. The same command goes on after a kill."""
    from genrm_rl.evaluation.choosing import best_of_config, choose_best

    settings, asked = best_of_config(judge, path, config, context.args), known_form(form)
    if rule not in ("", *get_args(Rule)):
        raise ConfigError(f"--rule {rule} is no rule; choose one of {', '.join(get_args(Rule))}")
    if dry_run:
        return preview(settings, console, every=every)
    choose_best(settings, judge, asked, rule or None, out, console)  # type: ignore[arg-type]


@app.command(context_settings=OVERRIDES, epilog=epilog("serve"))
def serve(context: typer.Context, config: ConfigOption = None, dry_run: DryRun = False, every: All = False) -> None:
    """Serve a judge over HTTP: judgments of comparisons, and rewards of groups of responses."""
    settings = load_config(ServeConfig, config or CONFIGS / "serve_tiny.yaml", context.args)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.stories.serve_genrm import serve_judge

    serve_judge(settings, console)


@app.command(context_settings=OVERRIDES, epilog=epilog("align"))
def align(
    context: typer.Context,
    config: ConfigOption = None,
    dry_run: DryRun = False,
    every: All = False,
    resume: Resume = False,
    rejudge: Rejudge = False,
) -> None:
    """Align a policy with a judge's rewards: PPO, GRPO, RLOO, REINFORCE++ (--method ppo) or DPO (--method dpo)."""
    settings = load_config(AlignConfig, config or CONFIGS / "align_tiny.yaml", context.args)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.stories.align_policy import run_alignment

    run_alignment(settings, console, must_exist=resume, rejudge=rejudge)


@app.command(context_settings=OVERRIDES, epilog=epilog("loop"))
def loop(
    context: typer.Context,
    config: ConfigOption = None,
    dry_run: DryRun = False,
    every: All = False,
    resume: Resume = False,
    rejudge: Rejudge = False,
) -> None:
    """The closed loop: bootstrap, serve, align, label the policy's answers, train the next judge, gate. The same
    --run.id continues it."""
    settings = load_config(LoopConfig, config or CONFIGS / "loop_tiny.yaml", context.args)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.stories.close_loop import run_loop

    run_loop(settings, console, must_exist=resume, rejudge=rejudge)


@app.command(context_settings=OVERRIDES, epilog=epilog("label"))
def label(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="a loop that waits for labels (its directory or id), or a file of comparisons: JSONL with prompt, "
            "answer_a and answer_b, Argilla's records, or Label Studio's tasks"
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="where the labels go; needed for a file")] = None,
    form: Annotated[
        str, typer.Option(help="of --out: jsonl (all that was said), pairs (to learn from), argilla or label_studio")
    ] = "jsonl",
    take: Annotated[
        list[Path] | None, typer.Option(help="file of labels given elsewhere: jsonl, argilla or label_studio")
    ] = None,
    page: Annotated[bool, typer.Option(help="open the page; --no-page only reads and writes files")] = True,
) -> None:
    """People say which of two answers is better, on a page with a link for each of them. Ends by itself when enough is
    there; the same command goes on after a kill."""
    from genrm_rl.closed_loop.label_command import label_source

    label_source(source, context.args, out, form, take or [], page, console)


@app.command(epilog=epilog("status"))
def status(
    run: Annotated[str, typer.Argument(help="run directory, or run id")],
    root: Annotated[str, typer.Option(help="folder of all run directories, or its URI")] = "runs",
) -> None:
    """What a run has finished, what it is doing, and whether anybody drives it; reads its directory only."""
    from genrm_rl.runtime.status import read_status, show_status

    show_status(read_status(run, root), console)


for _room in (app, agents, pages, tools):
    for _command in _room.registered_commands:
        _command.cls = CompletedCommand


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: errors for people become one sentence on stderr and exit status 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", message="The pynvml package is deprecated", category=FutureWarning)
    plain_log()
    words = list(argv) if argv is not None else sys.argv[1:]
    try:
        if asks_for_settings(words):
            return print_settings(words, console)
        app(args=words, prog_name="genrm-rl", standalone_mode=True)
    except GenRMError as error:
        problem = getattr(error, "cause", error)  # of a worker's error, Ray shows the whole traceback
        # Messages quote file names and library messages: no markup in them, and one line.
        sentence = " ".join(line.strip() for line in str(problem).splitlines() if line.strip()).removesuffix(".")
        shown = Text.assemble(("error:", "bold red"), " ", sentence)
        people_console(stderr=True).print(shown, highlight=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            again = shlex.join(["genrm-rl", *words])
            how = f"; give the same command again, and it goes on from what is finished: {again}"
            goes_on = how if is_job(words) else ""
            people_console(stderr=True).print(f"interrupted{goes_on}", highlight=False, soft_wrap=True)
        raise


def is_job(words: Sequence[str]) -> bool:
    """True for a command that a run directory remembers."""
    return bool(words) and words[0] in RESUMABLE


if __name__ == "__main__":
    main()
