"""Profiles as tables."""

from __future__ import annotations

from collections.abc import Sequence

from aquahost.cli.output import Column, one_line, write_line, write_table
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile, SizedCost
from aquahost.profiles.step_costs import FittedSteps, StepShape
from aquahost.units import format_bytes

_BATCHES = (1, 4, 16, 64)
_CONTEXTS = (0, 1024, 8192)
_CHUNKS = (64, 512, 2048)


def show_profile(name: str, profile: Profile) -> None:
    """All that is known of one model."""
    gpus = f" on each of {profile.group} GPUs" if profile.group > 1 else ""
    how = f"measured {profile.at}" if profile.measured else "worked out from its config and a data sheet"
    rows = [
        ["model", one_line(name)],
        ["GPU", f"{profile.gpu}, {how}"],
        ["parameters", f"{profile.parameters / 1e9:.3g} billion, {profile.dtype}"],
        ["weights", f"{format_bytes(profile.weights_bytes)}{gpus}"],
    ]
    if isinstance(profile.costs, LanguageCosts):
        rows += _language_rows(profile, profile.costs)
        write_table([Column("WHAT"), Column("COST")], rows)
        _show_steps(profile.costs)
    else:
        write_table([Column("WHAT"), Column("COST")], rows)
        _show_sizes(profile.costs)


def show_list(profiles: Sequence[Profile]) -> None:
    """A line for each."""
    if not profiles:
        write_line("no profiles; aquahost profile MODEL makes one")
        return
    columns = [*map(Column, ("SOURCE", "GPU", "DTYPE")), Column("GPUS", right=True), Column("WEIGHTS", right=True)]
    rows = [
        [
            one_line(one.source), one.gpu, one.dtype, str(one.group), format_bytes(one.weights_bytes),
            "measured" if one.measured else "worked out", one.at,
        ]
        for one in profiles
    ]  # fmt: skip
    write_table([*columns, Column("HOW"), Column("MADE")], rows)


def _language_rows(profile: Profile, costs: LanguageCosts) -> list[list[str]]:
    rows = [
        ["KV", f"{format_bytes(costs.kv_token_bytes)} a token"],
        ["widest step", f"{format_bytes(costs.peak_bytes)} beside weights and KV"],
        ["context", f"{costs.context_tokens} tokens"],
        ["paging", f"{_ms(costs.transfer_s)} of its own work for a prompt's way out or in"],
    ]
    for tier, rate in (("neighbour", profile.peer_bytes_per_s), ("host", profile.host_bytes_per_s)):
        if rate is not None:
            rows.append([f"to the {tier}", f"{rate / 1e9:.3g} GB/s"])
    if isinstance(costs.step, FittedSteps):
        rows.append(["error of the fit", f"median {costs.step.error:.1%}, worst {costs.step.worst_error:.0%}"])
    return rows


def _show_steps(costs: LanguageCosts) -> None:
    contexts = [tokens for tokens in _CONTEXTS if tokens < costs.context_tokens]
    write_line("")
    write_table(
        [Column("STEP"), *(Column(f"{tokens} TOKENS BEFORE", right=True) for tokens in contexts)],
        [
            *(
                [f"{batch} prompts decode", *(_ms(_decode_s(costs, batch, tokens)) for tokens in contexts)]
                for batch in _BATCHES
            ),
            *(
                [f"prefill of {chunk} tokens", *(_ms(_prefill_s(costs, chunk, tokens)) for tokens in contexts)]
                for chunk in _CHUNKS
                if chunk < costs.context_tokens
            ),
        ],
    )


def _decode_s(costs: LanguageCosts, batch: int, context: int) -> float:
    return costs.step.seconds(StepShape(decodes=batch, context=batch * context))


def _prefill_s(costs: LanguageCosts, chunk: int, before: int) -> float:
    pairs = chunk * before + chunk * (chunk + 1) / 2
    return costs.step.seconds(StepShape(decodes=0, prefill=chunk, pairs=pairs, prefill_context=before))


def _show_sizes(costs: GatedCosts) -> None:
    rows = [
        [
            f"{one.size:,.10g}", _ms(one.begin_s), _ms(one.step_s), _ms(one.end_s), _ms(_whole_s(costs, one)),
            format_bytes(one.peak_bytes), format_bytes(one.held_bytes),
        ]
        for one in costs.sizes
    ]  # fmt: skip
    titles = ("SIZE", "BEGIN", "STEP", "END", "WHOLE", "PEAK", "HELD")
    write_line("")
    write_table([Column(title, right=True) for title in titles], rows)
    write_line(
        f"\nSizes are pixels of an image or seconds of a sound, by default {costs.default_size:,.10g}; "
        f"by default {costs.default_steps} steps."
    )


def _whole_s(costs: GatedCosts, one: SizedCost) -> float:
    steps = one.steps_per_size * one.size or costs.default_steps
    return one.begin_s + steps * one.step_s + one.end_s


def _ms(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
