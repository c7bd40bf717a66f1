"""What `--dry-run` prints: settings, where a config leaves the paper, the data found, and the work planned."""

from __future__ import annotations

from rich.console import Console, Group
from rich.table import Column, Table

from genrm_rl.config import RunConfig
from genrm_rl.config.base import Section
from genrm_rl.config.loading import describe
from genrm_rl.runtime.console import number, people_table
from genrm_rl.settings_help import list_of_settings


def preview(config: Section, console: Console, *, every: bool) -> None:
    """The resolved settings, those that differ from the defaults or ``every`` one, and of a bootstrap the work."""
    console.print(settings_of(config, every=every))
    if isinstance(config, RunConfig):
        print_plan(config, console)


def settings_of(config: Section, *, every: bool) -> Group:
    """Settings with value, unit and meaning."""
    rows = describe(config) if every else describe(config, beside=type(config)())
    title = "resolved settings" if every else "settings that differ from the defaults (--all: every one)"
    return list_of_settings(rows, title)


def paper_table(config: RunConfig) -> Table:
    """Settings in which a config that follows the paper is not the paper's, with the reasons that it gives."""
    from genrm_rl.config.paper import paper_differences

    table = Table(Column("setting", no_wrap=True), "the paper", "here", "reason", title="differs from the paper")
    for row in paper_differences(config):
        table.add_row(row.setting, str(row.paper), str(row.here), row.reason or "NO REASON GIVEN in paper_differences")
    return table


def print_plan(config: RunConfig, console: Console) -> None:
    """Where the config leaves the paper, the data found, and the derived batch table."""
    from genrm_rl.bootstrap.run_data import misfit
    from genrm_rl.config.plan import plan_rounds
    from genrm_rl.judging.encoding import JudgeEncoder
    from genrm_rl.models import load_tokenizer, resolve_model
    from genrm_rl.preferences.sources import load_sources

    if config.paper_differences is not None:
        console.print(paper_table(config))
    model = resolve_model(config.model)
    encoder = JudgeEncoder.from_config(load_tokenizer(model.path), config.judge, config.model.max_context)
    splits = load_sources(config.data, config.run.seed, misfit=misfit(config, encoder))
    data = people_table("data", number("pairs"))
    data.add_row("train", str(len(splits.train)))
    data.add_row("gate", str(len(splits.gate)))
    for name, pairs in splits.test.items():
        data.add_row(f"test {name}", str(len(pairs)))
    console.print(data)
    console.print(f"read: {splits.report.describe()}", highlight=False)
    columns = ("round", "pairs", "traces", "tokens <=", "examples <=", "batch", "steps <=")
    batches = people_table("method", *map(number, columns), title="batch table")
    for planned in plan_rounds(config, len(splits.train)):
        batches.add_row(
            planned.method, str(planned.iteration), f"{planned.pairs:,}", f"{planned.traces_sampled:,}",
            f"{planned.tokens_sampled_at_most:,}", f"{planned.examples_at_most:,}", str(planned.batch_size),
            f"{planned.steps_at_most:,}",
        )  # fmt: skip
    console.print(batches)
