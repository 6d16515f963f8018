"""The command itself."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from aquahost.cli.doctor.findings import findings
from aquahost.cli.doctor.gather import gather
from aquahost.cli.doctor.report import Severity
from aquahost.cli.doctor.shown import write_report
from aquahost.cli.exits import ExitCode
from aquahost.cli.output import Form, FormOption, write_data
from aquahost.cli.surroundings import surroundings
from aquahost.cli.which_config import which_config


def doctor(
    context: typer.Context,
    models: Annotated[
        str | None, typer.Option(metavar="FILE", help="The models.yaml to host.", show_default=False)
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Test and measure the links anew, also beside a running daemon.")
    ] = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Look for what keeps models from running or lending.

    Shows driver, GPUs, the links between them (which can be used, how fast, and why not), folders, daemon and
    packages; then what was found, and what to do about it. A link is used only if what is written over it arrives.
    With a running daemon, GPUs and links are those it found at its start.

    Ends with 0 if all is well, and with 1 if something keeps models from running or GPUs from lending.

    Examples:

      aquahost doctor

      aquahost doctor --measure -o json
    """
    around = surroundings(context)
    report, snapshot = gather(around, which_config(around.env, models), measure=measure)
    report = msgspec.structs.replace(report, findings=findings(report, snapshot))
    if output is Form.TABLE:
        write_report(report)
    else:
        write_data(report, output)
    if any(finding.severity is Severity.PROBLEM for finding in report.findings):
        raise typer.Exit(ExitCode.FAILED)
