"""A made-up host of eight GPUs, the same at every run: a burst pages out to neighbours and comes back."""

from __future__ import annotations

from collections.abc import Iterator

from aquahost.events import Event, EventKind
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import (
    SCHEMA_VERSION,
    FirstTokensView,
    FlowView,
    GpuView,
    LeaseState,
    LeaseView,
    LinkView,
    ModelState,
    ModelView,
    PromptView,
    Snapshot,
    TenantView,
)
from aquahost.messages.wire import EngineStats, Footprint, LoadProgress, Paged
from aquahost.units import GIB, MIB

TICK_S = 0.5
_KINDS = {"chat": "llm", "coder": "llm", "paint": "image", "sing": "audio", "mistral": "llm", "spare": "llm"}
_HOMES = {"chat": 0, "coder": 1, "paint": 2, "sing": 3, "mistral": 4, "spare": 5}


def snapshots(count: int = 60, prompts: int = 96) -> Iterator[tuple[float, Snapshot]]:
    """`count` snapshots of a burst, each with its time."""
    for tick in range(count):
        yield tick * TICK_S, snapshot(tick, prompts)


def snapshot(tick: int = 24, prompts: int = 96) -> Snapshot:
    """The host at one tick; the burst lasts from tick 4 to about 60."""
    leases = _leases(tick)
    return Snapshot(
        schema_version=SCHEMA_VERSION,
        at=f"2026-11-25T12:00:{tick % 60:02d}Z",
        version="0.1.0",
        run_id="made",
        pid=4242,
        driver="emulated",
        uptime_s=185.0 + tick * TICK_S,
        draining=False,
        gpus=[_gpu(index, tick, leases) for index in range(8)],
        models=[_model(name, tick, prompts) for name in _HOMES],
        prompts=_prompts(tick, prompts),
        leases=leases,
        links=[*_links()],
        last_event_seq=len(events(tick)),
        flows=[
            FlowView(source=lease.donor, target=lease.borrower_gpu, bytes_per_s=(1 + lease.id + tick % 3) * 0.9e9)
            for lease in leases
        ],
        tenants=[
            TenantView(name="default", weight=1.0, live=0, waiting=0, service_s=3.2, output_tokens=1_200),
            TenantView(
                name="gold",
                weight=3.0,
                live=prompts // 2,
                waiting=4,
                service_s=3.1 + tick * 1.6,
                output_tokens=1_211 + tick * 430,
            ),
            TenantView(
                name="web",
                weight=1.0,
                live=prompts // 2,
                waiting=11,
                service_s=2.9 + tick * 0.7,
                output_tokens=1_400 + tick * 190,
            ),
        ],
        first_tokens=FirstTokensView(prompts=prompts, p50_s=0.049, p99_s=0.266),
    )


def events(tick: int) -> list[Event]:
    """All events up to a tick."""
    known = [
        (0, EventKind.DAEMON_STARTED, "aquahost 0.1.0 on 8 emulated GPUs", None),
        (0, EventKind.MODEL_LOADING, "chat is loading on GPU 0", "chat"),
        (1, EventKind.MODEL_READY, "chat is ready on GPU 0: LlamaForCausalLM float32", "chat"),
        (2, EventKind.MODEL_PARKED, "mistral is parked to host memory", "mistral"),
        (5, EventKind.LEASE_GRANTED, "lease 1: GPU 2 lends 512 MiB to chat (GPU 0)", "chat"),
        (6, EventKind.LEASE_MAPPED, "lease 1: chat uses 512 MiB of GPU 2", "chat"),
        (8, EventKind.LEASE_GRANTED, "lease 2: GPU 4 lends 6.0 GiB to chat (GPU 0)", "chat"),
        (20, EventKind.LEASE_RECALLED, "lease 1: GPU 2 wants 512 MiB back within 1.0 s", "chat"),
        (30, EventKind.LEASE_RETURNED, "lease 1: 512 MiB are back on GPU 2 after 41 ms", "chat"),
        (40, EventKind.WORKER_DIED, "the worker of coder died (signal 9); it is started again", "coder"),
    ]
    return [
        Event(seq=number, at=f"2026-11-25T12:00:{at:02d}.000Z", kind=kind, message=message, model=model)
        for number, (at, kind, message, model) in enumerate(known, 1)
        if at <= tick
    ]


def _leases(tick: int) -> list[LeaseView]:
    made = [
        (1, 2, "chat", 0, 512 * MIB, 5, 30),
        (2, 4, "chat", 0, 6 * GIB, 8, 56),
        (3, 6, "chat", 0, 9 * GIB, 9, 58),
        (4, 7, "coder", 1, 3 * GIB, 12, 50),
    ]
    return [
        LeaseView(
            id=number,
            donor=donor,
            borrower=borrower,
            borrower_gpu=gpu,
            nbytes=nbytes,
            recalled_bytes=nbytes if number == 1 and tick >= 20 else 0,
            state=LeaseState.RECALLING if number == 1 and tick >= 20 else LeaseState.MAPPED,
            age_s=(tick - begins) * TICK_S,
            deadline_in_s=0.8 if number == 1 and tick >= 20 else None,
        )
        for number, donor, borrower, gpu, nbytes, begins, ends in made
        if begins <= tick < ends
    ]


def _gpu(index: int, tick: int, leases: list[LeaseView]) -> GpuView:
    models = [name for name, home in _HOMES.items() if home == index and name != "spare"]
    lent = sum(lease.nbytes for lease in leases if lease.donor == index)
    weights = (14 - index) * GIB if models and models != ["mistral"] else 0
    kv = 20 * GIB if index < 2 else 0
    work, other = (2 * GIB if models else 0), (GIB // 2 if index != 6 else 5 * GIB)
    total = 80 * GIB if index != 3 else 40 * GIB
    busy = {0: 0.97, 1: 0.64, 2: 0.31}.get(index, 0.04)
    return GpuView(
        index=index,
        uuid=f"GPU-{index}",
        name="Emulated H100",
        total_bytes=total,
        free_bytes=total - weights - kv - work - lent - other,
        weights_bytes=weights,
        kv_bytes=kv,
        work_bytes=work,
        lent_bytes=lent,
        borrowed_bytes=sum(lease.nbytes for lease in leases if lease.borrower_gpu == index),
        other_bytes=other,
        models=models,
        utilisation=max(0.0, min(1.0, busy + 0.02 * (tick * (index + 3) % 5 - 2))),
    )


def _model(name: str, tick: int, prompts: int) -> ModelView:
    is_loading = name == "coder" and tick < 3
    is_there = name != "spare"
    return ModelView(
        name=name,
        kind=_KINDS[name],
        source=f"demo:{name}",
        state=ModelState.LOADING if is_loading else (ModelState.READY if is_there else ModelState.FAILED),
        gpu=_HOMES[name] if is_there else None,
        pid=5000 + _HOMES[name] if is_there else None,
        restarts=1 if name == "coder" and tick > 40 else 0,
        reason=None if is_there else "no file model.safetensors in /models/spare",
        load=LoadProgress("loading weights", 3 * GIB, 14 * GIB) if is_loading else None,
        footprint=Footprint(
            weights_bytes=(14 - _HOMES[name]) * GIB,
            kv_bytes=20 * GIB,
            max_context=8192,
            detail="LlamaForCausalLM float32",
        )
        if is_there and not is_loading
        else None,
        stats=_stats(name, tick, prompts) if is_there and not is_loading else None,
        queue=prompts if name == "chat" else (2 if name == "paint" else 0),
        max_queue=512,
        ready_for_s=180.0 + tick * TICK_S if is_there and not is_loading else None,
        resident_bytes=900 * MIB if is_there else None,
        pinned=name == "sing",
    )


def _stats(name: str, tick: int, prompts: int) -> EngineStats:
    is_chat, is_parked, has_kv = name == "chat", name == "mistral", name in ("chat", "coder")
    borrowed = sum(lease.nbytes for lease in _leases(tick) if lease.borrower == name)
    return EngineStats(
        waiting=15 if is_chat else 0,
        running=12 if is_chat else 0,
        suspended=max(prompts - 27, 0) if is_chat else 0,
        steps=tick * 60,
        output_tokens=tick * (620 if is_chat else 40) if has_kv else 0,
        weights_bytes=0 if is_parked else (14 - _HOMES[name]) * GIB,
        kv_bytes=20 * GIB if has_kv else 0,
        kv_blocks=10_240 if has_kv else 0,
        kv_blocks_free=212 if is_chat else (8_000 if has_kv else 0),
        kv_used_bytes=19 * GIB + borrowed if is_chat else (4 * GIB if has_kv else 0),
        work_bytes=0 if is_parked else 2 * GIB,
        borrowed_bytes=borrowed,
        host_bytes=14 * GIB if is_parked else (GIB if is_chat else 0),
        slice_s=0.53 if is_chat else 0.0,
        busy_s=tick * (0.48 if is_chat else 0.02),
        paged=(
            Paged("local", "peer", tick * 700 * MIB),
            Paged("peer", "local", tick * 620 * MIB),
            Paged("local", "host", tick * 40 * MIB),
        )
        if is_chat
        else (),
        parked="host" if is_parked else "",
    )


def _prompts(tick: int, prompts: int) -> list[PromptView]:
    made = []
    for number in range(prompts):
        begins, ends = 4 + number % 3, 40 + (number * 7) % 24
        if not begins <= tick < ends:
            continue
        made.append(_prompt(number, tick - begins, tick))
    return made


def _prompt(number: int, age: int, tick: int) -> PromptView:
    is_image = number % 24 == 5
    turn = (tick + number) % 8
    state = PromptState.RUNNING if turn < 2 or is_image else PromptState.SUSPENDED
    if age == 0:
        state = PromptState.WAITING if number % 5 else PromptState.PREFILLING
    place = ("GPU 4", "GPU 6", "GPU 2, GPU 6", "host")[number % 4] if state is PromptState.SUSPENDED else ""
    at_work = state in (PromptState.RUNNING, PromptState.PREFILLING)
    return PromptView(
        id=f"p{number:04d}xyz",
        model="paint" if is_image else "chat",
        tenant="gold" if number % 2 else "web",
        kind="image" if is_image else "text",
        state=state,
        age_s=age * TICK_S + 0.1,
        input_tokens=0 if is_image else 16 + number % 90,
        output_tokens=0 if is_image else age * 7 + number % 11,
        waited_s=age * 0.3 + 0.1,
        max_tokens=None if is_image or number % 3 == 0 else 600,
        steps_done=min(age, 30) if is_image else None,
        steps=30 if is_image else None,
        first_token_s=0.03 + number * 0.002 if age else None,
        service_s=age * 0.11,
        place=place,
        position=0 if at_work else 1 + number % 37,
        next_slice_s=0.0 if at_work else 0.2 + (number % 37) * 0.05,
    )


def _links() -> Iterator[LinkView]:
    for source in range(-1, 8):
        for target in range(-1, 8):
            if source == target:
                continue
            refused = {source, target} == {3, 5}
            host = -1 in (source, target)
            yield LinkView(
                source=source,
                target=target,
                usable=not refused,
                reason="bytes arrived wrong" if refused else ("PCIe" if host else "NVLink"),
                bytes_per_s=0.0 if refused else (0.9e9 if host else 8.8e9 + 1e7 * source),
            )
