"""The cases: which models, what is asked of them, and what is compared."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.traces.traffic import Burst

Setup = tuple[str, str]
"""Policy and tier."""
_TIERS = ("recompute", "host", "peer")
OURS: tuple[Setup, ...] = tuple((policy, tier) for policy in ("fcfs", "fair") for tier in _TIERS)
OUR_SETUP: Setup = ("fair", "peer")
COMPARED: tuple[Setup, ...] = (("fcfs", "recompute"), ("fair", "host"), ("aqua", "peer"))
"""What it is compared with: a classic engine, the same without neighbours, AQUA."""
AQUAS: tuple[Setup, ...] = (("aqua", "host"), ("aqua", "peer"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question to the simulator."""

    name: str
    about: str
    file: str
    """models.yaml in examples/evaluation."""
    subject: str
    """The model whose figures are shown."""
    bursts: tuple[Burst, ...] = ()
    """What is asked; the entries' traffic for `duration_s` where this is empty."""
    duration_s: float = 0.0
    node: str
    """As many GPUs as the case has models on, so that nobody borrows of GPUs that lie empty."""
    setups: tuple[Setup, ...] = (*OURS, *AQUAS)
    lent_bytes: tuple[tuple[int, int, int], ...] | None = None
    """Under AQUA's policies: donor, borrower's GPU, bytes; by size of offer and need where not given."""
    context_tokens: int | None = None
    """Where another context than the model's is simulated."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)


def _burst_70b(rate_per_s: float) -> Case:
    return Case(
        name=f"a-70b-{rate_per_s:g}",
        about=f"100 prompts at {rate_per_s:g}/s to Llama-3.1-70B on two GPUs, two Llama-3.1-8B lend 30 GB each",
        file="burst-70b.yaml",
        subject="llama-70b",
        bursts=(Burst(model="llama-70b", prompts=100, rate_per_s=rate_per_s),),
        node="4xH100",
        lent_bytes=((2, 0, 30 * 10**9), (3, 1, 30 * 10**9)),
    )


def _long(node: str) -> Case:
    return Case(
        name=f"b-{node.partition('x')[2].lower()}",
        about=f"one prompt of 8,192 tokens in and 64 out to OPT-30B on {node}, half its KV elsewhere",
        file="long-30b.yaml",
        subject="opt-30b",
        bursts=(Burst(model="opt-30b", prompts=1, rate_per_s=1.0),),
        node=node,
        lent_bytes=((1, 0, 30 * 10**9),),
        context_tokens=16384,
        seeds=(1,),
    )


def _lora(node: str, rate_per_s: float) -> Case:
    return Case(
        name=f"c-{node.partition('x')[2].lower()}-{rate_per_s:g}",
        about=f"200 prompts at {rate_per_s:g}/s to Mistral-7B with 30 LoRA adapters of 200 MB on {node}",
        file="lora-7b.yaml",
        subject="mistral-7b",
        bursts=(Burst(model="mistral-7b", prompts=200, rate_per_s=rate_per_s),),
        node=node,
        lent_bytes=((1, 0, 30 * 10**9),),
    )


CASES: tuple[Case, ...] = (
    Case(
        name="a-34b",
        about="50 prompts at 3/s to CodeLlama-34B with 4 GB of KV memory, beside an idle SDXL",
        file="burst-34b.yaml",
        subject="coder-34b",
        bursts=(Burst(model="coder-34b", prompts=50, rate_per_s=3.0),),
        node="2xH100",
    ),
    *(_burst_70b(rate_per_s) for rate_per_s in (0.25, 1.0, 2.0, 4.0, 8.0)),
    _long("2xH100"),
    _long("2xA100"),
    _lora("2xH100", 2.0),
    _lora("2xH100", 4.0),
    _lora("2xA100", 2.0),
    Case(
        name="d-donor",
        about="Llama-3.1-8B lends to CodeLlama-34B, then gets bursts of 80 prompts at 20/s after 60 and 120 s",
        file="donor-8b.yaml",
        subject="llama-8b",
        bursts=(
            Burst(model="coder-34b", prompts=180, rate_per_s=1.2),
            Burst(model="llama-8b", prompts=80, rate_per_s=20.0, begin_s=60.0),
            Burst(model="llama-8b", prompts=80, rate_per_s=20.0, begin_s=120.0),
        ),
        node="2xH100",
    ),
    Case(
        name="e-node",
        about="an hour of eight models' mixed traffic, 20 prompts/s",
        file="../node8.yaml",
        subject="",
        node="8xH100",
        duration_s=3600.0,
        seeds=(1,),
    ),
)
"""In the order in which they are shown; under tier "host" of d-donor nothing is lent."""


def case(name: str) -> Case:
    """The case of that name. Raises KeyError."""
    return next(one for one in CASES if one.name == name)
