"""What daemon and worker say to each other over their ipc socket, encoded with msgspec's MessagePack."""

from __future__ import annotations

import msgspec

from aquahost.messages.memory import MemoryInstruction, MemoryReport
from aquahost.messages.prompts import Output, Prompt

# -- daemon to worker ------------------------------------------------------------------------------------------


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """Take this prompt; answered by Accepted or Finished(ERROR)."""

    prompt: Prompt


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Drop this prompt and free its memory before the next step; unknown ids are ignored."""

    prompt_id: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Close the engine and exit with status 0. The daemon sends it once nothing is running, or to end at once."""


class Park(msgspec.Struct, frozen=True, tag="park"):
    """Move the weights off the GPU as soon as nothing else is held, however short the model has been idle; passed over
    where prompts are live or the model is pinned."""


class Wake(msgspec.Struct, frozen=True, tag="wake"):
    """Have parked weights back on the GPU, as if a prompt had come."""


class Pin(msgspec.Struct, frozen=True, tag="pin"):
    """Never park from now on, and wake what is parked; or, with `pinned` false, park again when idle."""

    pinned: bool


ParkingWish = Park | Wake | Pin
ToWorker = Submit | Cancel | Stop | ParkingWish | MemoryInstruction

# -- worker to daemon ------------------------------------------------------------------------------------------


class LoadProgress(msgspec.Struct, frozen=True, tag="load_progress"):
    """How far loading has come; `total` is 0 while it is not known."""

    stage: str
    """What is being done, for people: "importing", "loading weights", "probing", …"""
    done: int
    total: int
    unit: str = "bytes"
    """What `done` and `total` count: "bytes" or "shards" or "steps"."""


class Footprint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A loaded model's share of its GPU, and its limits."""

    weights_bytes: int = 0
    kv_bytes: int = 0
    """Most memory of its own GPU that KV blocks take."""
    peak_bytes: int = 0
    """Memory beyond weights and KV at the largest request, measured at load; 0 where it is not known."""
    max_context: int = 0
    """Tokens of input and output together; 0 for image and audio models."""
    detail: str = ""
    """For people: architecture and dtype, like "LlamaForCausalLM float32"."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded and takes prompts."""

    footprint: Footprint


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    """The model cannot be loaded or served; the worker exits after this. Loading again would fail again."""

    reason: str


class Paged(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that were moved from one place to another; a place is "local", "peer" or "host"."""

    source: str
    target: str
    nbytes: int


class Traffic(msgspec.Struct, frozen=True, array_like=True):
    """Bytes of KV that went from one place to another; a place is a GPU's index, or -1 for host memory."""

    source: int
    target: int
    nbytes: int


class EngineStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An engine's figures at one instant; all fields are of the same step."""

    waiting: int = 0
    running: int = 0
    steps: int = 0
    """Steps since the model was loaded."""
    output_tokens: int = 0
    """Tokens produced since the model was loaded."""
    suspended: int = 0
    """Prompts whose KV blocks wait in lent or in host memory, or on their way there or back; not in the others."""
    slice_s: float = 0.0
    """How long a prompt runs before it has to give way to another one; 0 where nobody has to."""
    kv_blocks: int = 0
    """KV blocks that are mapped on the model's own GPU."""
    kv_blocks_free: int = 0
    kv_used_bytes: int = 0
    """Of KV blocks in use, wherever they lie."""
    weights_bytes: int = 0
    """What the weights take of the model's own GPU at this moment; 0 while it is parked."""
    kv_bytes: int = 0
    """What KV memory takes of the model's own GPU at this moment, used or not."""
    work_bytes: int = 0
    """What activations may take of the model's own GPU at this moment."""
    borrowed_bytes: int = 0
    """Lent memory that is mapped."""
    host_bytes: int = 0
    """Host memory that holds KV blocks or parked weights."""
    paged: tuple[Paged, ...] = ()
    """Since the model was loaded, one entry for each pair of places."""
    parked: str = ""
    """Where the weights of a parked model lie: "host", or "GPU 3"; empty while they are on their own GPU."""
    stuck: str = ""
    """Why a parked model's weights could not come back when they were last wanted; empty where nothing keeps them."""
    busy_s: float = 0.0
    """Device time of all steps since the model was loaded."""
    traffic: tuple[Traffic, ...] = ()
    """Since the model was loaded, one entry for each pair of places between which KV was moved, or read in place."""


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """The worker's process lives. Sent from a thread of its own, so a long step does not silence it."""

    loop_passes: int
    """Passes of the worker's loop so far: a busy worker whose count stands still for long hangs."""
    busy: bool
    """Whether the loop is at work, which is whenever it does not wait for messages."""


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """How a live prompt stands with its engine's scheduler, beyond its state."""

    prompt_id: str
    service_s: float
    """Device time it has had."""
    place: str = ""
    """Where a suspended prompt's KV waits: "GPU 3", "host" or both; empty where it has none there."""
    position: int = 0
    """How many prompts go before it, and one; 0 while it takes part in steps."""
    next_slice_s: float | None = 0.0
    """Estimate of when it is its turn; 0 while it is, None where that can't be told."""


class Outputs(msgspec.Struct, frozen=True, tag="outputs"):
    """All that one step produced."""

    outputs: list[Output]
    stats: EngineStats | None = None
    standings: list[Standing] | None = None
    """Of all live prompts, now and then."""


FromWorker = LoadProgress | Ready | LoadFailed | Heartbeat | Outputs | MemoryReport
