"""Does a stranger get into a running session? Six kinds of entry against a `genrm-rl` command that is at work.

    genrm-rl serve &
    python jobs/check_entry.py $!

Tries jobs over HTTP, joining, calls to Ray's services, files and sockets of the session folder (as another account, if
root), and connections from the network; each without a token and with a wrong one. Exits with 1 if one succeeds.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from genrm_rl.errors import GenRMError
from genrm_rl.runtime.entries import target_of, try_entries


def main() -> None:
    """Try, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pid", type=int, help="process of the command")
    console = Console()
    try:
        target = target_of(parser.parse_args().pid)
    except GenRMError as problem:
        sys.exit(f"error: {problem}")
    for door in target.doors:
        console.print(f"listens: {door}", highlight=False)
    entries = try_entries(target)
    table = Table("entry", "refused", "succeeded", box=None)
    for entry in entries:
        table.add_row(entry.kind, str(entry.refused), str(len(entry.entered)))
    console.print(table)
    for where in (where for entry in entries for where in entry.entered):
        console.print(f"[bold red]entered[/] {where}", highlight=False, soft_wrap=True)
    succeeded = sum(bool(entry.entered) for entry in entries)
    console.print(f"{succeeded} of {len(entries)} kinds of entry succeed")
    sys.exit(succeeded > 0)


if __name__ == "__main__":
    main()
