"""The manual page of `sightline`, in roff: one section per command, made from the help of the commands.

Built around the parameters of Typer's commands. It knows no library. `python -m app.cli.man_page` writes
`docs/sightline.1`, which the wheel installs as `share/man/man1/sightline.1`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from app import __version__
from app.cli.options import LIBRARY
from app.cli.program import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sightline.1"


def man_page() -> str:
    """Returns the page."""
    group: Any = typer.main.get_command(app)
    library = {option.name for option in LIBRARY}
    lines = [
        f'.TH SIGHTLINE 1 "" "Sightline {__version__}" "User Commands"',
        ".SH NAME",
        "sightline \\- search images, videos and PDFs by meaning",
        ".SH SYNOPSIS",
        ".B sightline",
        "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR]",
        ".SH DESCRIPTION",
        _plain(group.help),
        ".SH OPTIONS",
        *_records(group, group.params),
        ".SH OPTIONS OF EVERY COMMAND",
        *_records(group.commands["search"], LIBRARY),
        ".SH COMMANDS",
    ]
    for name, command in group.commands.items():
        pieces = command.collect_usage_pieces(command.make_context(name, [], resilient_parsing=True))
        usage = " ".join([name, *pieces])
        lines += [f".SS sightline {_plain(usage)}", _plain(command.help)]
        lines += _records(command, [p for p in command.params if p.name not in library])
    lines += [
        ".SH ENVIRONMENT",
        "Each option of a library or a server is also a variable: \\-\\-data\\-dir is SIGHTLINE_DATA_DIR.",
        ".SH EXIT STATUS",
        "0: done. 1: the job failed, or \\fBsearch \\-q\\fR has no hit that stands out. 2: wrong usage.",
    ]
    return "\n".join(lines) + "\n"


def _records(command: Any, params: Sequence[Any]) -> Iterator[str]:
    context = command.make_context(command.name, [], resilient_parsing=True)
    for param in params:
        if record := param.get_help_record(context):
            yield from (".TP", f"\\fB{_plain(record[0])}\\fR", _plain(record[1]))


def _plain(text: str | None) -> str:
    """Returns text in one line, with the characters escaped that roff interprets."""
    line = " ".join((text or "").split()).replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return "\\&" + line if line.startswith((".", "'")) else line


if __name__ == "__main__":
    PAGE.write_text(man_page(), "utf-8")
