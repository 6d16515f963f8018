"""A plan for people: a table of GPUs, then why."""

from __future__ import annotations

from collections.abc import Iterator

from aquahost.cli.output import RED, YELLOW, Cell, Column, one_line, write_line, write_table
from aquahost.cli.plan_node import PlannedNode
from aquahost.placement.explain import explain
from aquahost.placement.plan import Goal, Plan, PlannedGpu
from aquahost.units import counted, format_bytes

_COLUMNS = (
    Column("GPU", right=True),
    Column("MODELS"),
    Column("WEIGHTS", right=True),
    Column("WORK", right=True),
    Column("KV", right=True),
    Column("LENDS", right=True),
    Column("SPARE", right=True),
    Column("BORROWS", right=True),
    Column("TIME", right=True),
    Column("LENDS TO"),
    Column("BORROWS FROM"),
)
_LEGEND = (
    "WORK: activations; SPARE: neither used nor lent; TIME: how much of it the expected traffic keeps the GPU busy"
)
_MOST_LINES = 100


def show_plan(plan: Plan, node: PlannedNode) -> None:
    """The table, the explanation and how near it comes to the best there can be."""
    several = plan.servers > 1
    columns = [Column("SERVER", right=True), *_COLUMNS] if several else list(_COLUMNS)
    write_table(columns, [[*([str(gpu.server)] if several else []), *_row(plan, gpu)] for gpu in plan.gpus])
    write_line(_LEGEND)
    write_line("")
    lines = explain(plan)
    for line in lines[:_MOST_LINES]:
        write_line(one_line(line))
    if len(lines) > _MOST_LINES:
        write_line(f"… and {len(lines) - _MOST_LINES} lines more; -o json has all")
    write_line("")
    for line in _figures(plan, node):
        write_line(line)


def _row(plan: Plan, gpu: PlannedGpu) -> list[Cell | str]:
    sizes = (
        gpu.weights_bytes, gpu.peak_bytes, gpu.kv_bytes, gpu.lent_bytes, gpu.spare_bytes, gpu.borrowed_bytes
    )  # fmt: skip
    to = {loan.gpu for loan in plan.loans if loan.donor == gpu.gpu}
    of = {loan.donor for loan in plan.loans if loan.gpu == gpu.gpu}
    return [
        str(gpu.gpu),
        one_line(", ".join(gpu.models)) or "-",
        *(format_bytes(size) if size else "-" for size in sizes),
        Cell(f"{gpu.utilisation:.0%}", RED if gpu.utilisation >= 1 else YELLOW if gpu.utilisation > 0.9 else ""),
        ", ".join(map(str, sorted(to))) or "-",
        ", ".join(map(str, sorted(of))) or "-",
    ]


def _figures(plan: Plan, node: PlannedNode) -> Iterator[str]:
    servers = f"{plan.servers} servers of {node.name}" if plan.servers > 1 else node.name
    measured = sum(profile.measured for profile in node.profiles.values())
    how = f"{measured} of {counted(len(node.profiles), 'profile')} measured, the others worked out"
    yield f"{servers}, {format_bytes(plan.memory_bytes)} of each GPU for models; {how}"
    yield "; ".join(map(_goal, plan.goals))
    if plan.aqua is not None:
        yield (
            f"AQUA's objective: {format_bytes(plan.aqua.ours_bytes)}; of the best plan found for it "
            f"{format_bytes(plan.aqua.aqua_bytes)}, which leaves {format_bytes(plan.aqua.aqua_unmet_bytes)} unmet"
        )


def _goal(goal: Goal) -> str:
    in_bytes = goal.name.endswith("bytes")
    value = format_bytes(goal.value) if in_bytes else f"{goal.value:.3g}"
    best = "the least there can be" if goal.gap == 0 else f"at most {goal.gap:.1%} above the least there can be"
    return f"{goal.name.removesuffix(', bytes')} {value} ({best})"
