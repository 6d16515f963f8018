"""`aquahost bench evaluation`: AQUA's evaluation rebuilt on the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aquahost.cli.output import Column, Form, FormOption, say, write_data, write_line, write_table
from aquahost.errors import ConfigError
from aquahost.units import format_bytes

if TYPE_CHECKING:
    from aquahost.bench.evaluation.cases import Case
    from aquahost.bench.evaluation.run import CaseResult, EvaluationRow

FolderOption = Annotated[
    Path, typer.Option("--folder", metavar="DIR", help="Where its models.yaml files are, in a checkout.")
]
OnlyOption = Annotated[
    str, typer.Option("--only", metavar="LIST", help="Cases by name, or by their first letter; see --list.")
]
ListOption = Annotated[bool, typer.Option("--list", help="Only list the cases.")]
SeedsOption = Annotated[
    int | None, typer.Option("--seeds", min=1, max=100, help="Seeds of each case in place of its own number.")
]


def evaluation(
    only: OnlyOption = "",
    folder: FolderOption = Path("examples/evaluation"),
    list_cases: ListOption = False,
    seeds: SeedsOption = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Rebuild AQUA's evaluation on simulated nodes of data-sheet GPUs: what docs/evaluation.md shows.

    Every case is run under policies and tiers of ours, and with AQUA's own policies in their place; figures are medians
    over the case's seeds. A seed gives the same figures on every machine.

    Examples:

      aquahost bench evaluation --only a,b

      aquahost bench evaluation -o json     all of it, in some minutes
    """
    from aquahost.bench.evaluation.cases import CASES
    from aquahost.bench.evaluation.run import Evaluation

    if list_cases:
        for case in CASES:
            write_line(f"{case.name:12} {case.about}")
        return
    chosen = _chosen(CASES, only)
    if not (folder / chosen[0].file).exists():
        raise ConfigError(f"{folder / chosen[0].file} does not exist; run this in a checkout, or name --folder")
    running = Evaluation(folder, say)
    results: dict[str, CaseResult] = {}
    for case in chosen:
        results[case.name] = running.run(case, range(1, seeds + 1) if seeds else case.seeds)
        if output is Form.TABLE:
            _write(case, results[case.name])
    if output is not Form.TABLE:
        from aquahost.bench.figures import this_place

        place = this_place()
        write_data({"date": place.date, "commit": place.commit, "cases": results}, output)


def _chosen(cases: tuple[Case, ...], only: str) -> list[Case]:
    words = [word.strip() for word in only.split(",") if word.strip()]
    if not words:
        return list(cases)
    for word in words:
        if not any(case.name == word or case.name.partition("-")[0] == word for case in cases):
            names = ", ".join(case.name for case in cases)
            raise typer.BadParameter(f"{word!r} is no case; there are {names}", param_hint="'--only'")
    return [case for case in cases if case.name in words or case.name.partition("-")[0] in words]


def _write(case: Case, result: CaseResult) -> None:
    write_line(f"{case.name}: {case.about}")
    titles = ("TTFT P50", "P99", "ITL P99", "LONGEST GAP", "DONE MEAN", "P99", "TOKENS/S", "PAGED", "FAILED")
    columns = [*map(Column, ("MODEL", "POLICY", "TIER")), *(Column(title, right=True) for title in titles)]
    names = ("ttft_p50_s", "ttft_p99_s", "itl_p99_s", "longest_gap_s", "completion_mean_s", "completion_p99_s")
    write_table(
        columns,
        [
            [
                row.model,
                row.policy,
                row.tier,
                *(_time(row.figures[name]) for name in names),
                _rate(row),
                format_bytes(row.figures["paged_bytes"] or 0),
                f"{row.figures['failed'] or 0:.0f}",
            ]
            for row in result.rows
        ],
    )
    for one in result.comparisons:
        write_line(
            f"fair × peer against {one.against}: P99 TTFT {one.ttft_p99_times:.2f} times shorter, mean completion "
            f"{one.completion_times:.2f} times shorter, {one.tokens_per_s_times:.3f} times the tokens/s"
        )
    write_line("")


def _rate(row: EvaluationRow) -> str:
    rate = f"{row.figures['output_tokens_per_s'] or 0:,.1f}"
    return rate if row.decode_tokens_per_s is None else f"{rate} ({row.decode_tokens_per_s:.1f} decoding)"


def _time(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"
