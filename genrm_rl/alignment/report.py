"""placeholder"""


def write_align_report(run, config, console):
    return run.path / "report.json"
