"""The made-up host with fewer or more GPUs than eight."""

from __future__ import annotations

from msgspec.structs import replace

from aquahost.messages.snapshot import LeaseState, LeaseView, Snapshot
from aquahost.units import GIB


def with_gpus(taken: Snapshot, count: int, *, all_lend: bool = False) -> Snapshot:
    """The same with `count` GPUs; those from 8 on are like GPU 7. The last one lends to GPU 0 where there are more than
    8, or with `all_lend` every GPU to the one after it."""
    gpus = [
        *taken.gpus[:count],
        *(replace(taken.gpus[7], index=index, uuid=f"GPU-{index}") for index in range(8, count)),
    ]
    leases = [lease for lease in taken.leases if max(lease.donor, lease.borrower_gpu) < count]
    if all_lend:
        leases = [_lease(100 + donor, donor, (donor + 1) % count) for donor in range(count)]
    elif count > 8:
        leases.append(_lease(99, count - 1, 0))
    return replace(
        taken,
        gpus=gpus,
        leases=leases,
        models=[
            replace(model, gpu=min(model.gpu, count - 1) if model.gpu is not None else None) for model in taken.models
        ],
        links=[link for link in taken.links if max(link.source, link.target) < count],
        flows=[flow for flow in taken.flows if max(flow.source, flow.target) < count],
    )


def _lease(number: int, donor: int, borrower: int) -> LeaseView:
    return LeaseView(
        id=number, donor=donor, borrower="chat", borrower_gpu=borrower, nbytes=7 * GIB, recalled_bytes=0,
        state=LeaseState.MAPPED, age_s=5.0, deadline_in_s=None,
    )  # fmt: skip
