"""What models.yaml may say, as frozen values. Defaults live here and nowhere else."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from aquahost.config.fields import Bytes, Frozen, Host, Name, Rate, Seconds
from aquahost.units import MIB


class Kind(StrEnum):
    """What a model makes of a prompt."""

    LLM = "llm"
    IMAGE = "image"
    AUDIO = "audio"
    TOY = "toy"


class EmulatedSettings(Frozen):
    """The node that the emulated driver pretends to be."""

    gpus: int = Field(default=8, ge=1, le=64)
    """Number of GPUs."""
    gpu_bytes: Bytes = 1024 * MIB
    """Memory of each GPU; host memory is used only as it is written."""
    peer_bytes_per_s: Rate = 9.0e9
    """Rate of the link between two GPUs, each way. The default keeps an 8xH100 node's ratio of paging time to step
    time for the demo models."""
    peer_latency_s: Seconds = 10e-6
    host_bytes_per_s: Rate = 0.9e9
    """Rate of the link between a GPU and host memory, each way."""
    host_latency_s: Seconds = 15e-6


class HostSettings(Frozen):
    """The machine and the daemon."""

    driver: Literal["auto", "cuda", "emulated"] = "auto"
    """"auto" takes CUDA where there is a driver with a GPU, else the emulated one, and says so."""
    emulated: EmulatedSettings = EmulatedSettings()
    partition: int = Field(default=1, ge=1, le=64)
    """Show each real GPU as this many smaller ones, each with its share of the memory: to run several models that lend
    to each other on one large GPU."""
    listen: Host = "127.0.0.1"
    """Address that the HTTP API listens on."""
    port: int = Field(default=8712, ge=0, le=65535)
    """Port of the HTTP API; 0 takes any free one."""
    cpu_threads: int = Field(default=0, ge=0)
    """torch threads of all workers together; 0 means one a core."""
    max_body_bytes: Bytes = 8 * MIB
    """A larger request body is answered with 413."""
    max_connections: int = Field(default=16384, ge=1)
    """Connections beyond which TCP clients are answered with 503; the Unix socket always lets its owner in."""
    request_timeout_s: Seconds = Field(default=20.0, gt=0)
    """Time in which a request's head must come; a body must not pause for longer, nor come slower than 500 bytes/s."""
    idle_timeout_s: Seconds = Field(default=5.0, gt=0)
    """A connection that has been silent for this long after a reply is closed."""
    unread_timeout_s: Seconds = Field(default=60.0, gt=0)
    """A TCP client that reads nothing of its reply for this long is cut off, and its prompts are cancelled."""
    prompt_timeout_s: Annotated[Seconds, Field(gt=0)] | None = 3600.0
    """A prompt that has not ended by then is failed, but for those of jobs. null sets no limit."""
    heartbeat_timeout_s: Seconds = Field(default=15.0, ge=2)
    """A worker silent for this long is killed and restarted; it gives a sign of life twice a second."""
    step_timeout_s: Seconds = Field(default=300.0, ge=0.1)
    """A worker whose step takes longer is killed and restarted."""
    max_restarts: int = Field(default=5, ge=0)
    """Crashes in a row after which a model is failed."""
    admin_key: str | None = Field(default=None, min_length=8)
    """Key for control routes over TCP, beside those of `aquahost keys add --admin`; without any they answer on the Unix
    socket alone."""
    tls_cert: str | None = None
    """PEM file of the certificate, and of those between it and its root: with it the port speaks https. A relative path
    is one from the folder of models.yaml."""
    tls_key: str | None = None
    """PEM file of the certificate's private key, without a password; the default is tls_cert itself."""
    log_prompts: bool = False
    """Write what users ask into the daemon's log. Without it no text of a prompt or of a reply is in any log."""
    drain_s: Seconds = 30.0
    """How long live prompts may go on once the daemon is to end (by a signal, or `aquahost down`), or their model is
    taken away by a reload."""
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    """Where traces of prompts go, like http://127.0.0.1:4318/v1/traces: a collector that takes OTLP over HTTP. Needs
    `pip install 'aquahost[otel]'`; without it there are none."""
    log_format: Literal["text", "json"] = "text"
    """Of the logs of daemon and workers; "json" is one object a line, with the prompt's id where there is one."""


class Policy(StrEnum):
    """How prompts share a model."""

    FAIR = "fair"
    """In time slices: tenants by weight, then prompts, by the device time they have had."""
    FCFS = "fcfs"
    """First come, first served, with admission control, as classic engines do."""
    PRIORITY = "priority"
    """As fair, but prompts of a smaller `priority` number go before all others."""


class SchedulerSettings(Frozen):
    """How prompts share a model."""

    policy: Policy = Policy.FAIR
    """"fair": in time slices, tenants by weight, then prompts. "fcfs": first come, first served, with admission
    control. "priority": as fair, but a request's smaller `priority` number goes first."""
    paging_budget: float = Field(default=0.1, gt=0, le=1)
    """Most of the device's time that may go by paging prompts out and in; slices are as short as that allows."""
    step_tokens: int = Field(default=512, ge=16)
    """Most tokens in one step of a language model, prefill chunks included."""
    max_batch: int = Field(default=64, ge=1)
    """Most prompts in one step of a language model."""


class LeasingSettings(Frozen):
    """How idle GPUs lend their memory."""

    enabled: bool = True
    """Lend and borrow at all."""
    headroom_bytes: Bytes = 0
    """Memory of each GPU that is never lent."""
    recall_deadline_s: Seconds = Field(default=1.0, gt=0)
    """How late memory that is wanted back may be, beyond the time that copying it takes. A borrower that takes twice as
    long in all is killed and restarted."""
    cooldown_s: Seconds = 5.0
    """A GPU that took memory back lends no more for this long."""
    linger_s: Seconds = 2.0
    """How long memory that is no longer needed is kept before it is given back, or lent."""
    park_after_s: Seconds | None = 300.0
    """A model idle for this long moves its weights to a neighbour or to host memory, lends its GPU, and comes back with
    its next prompt. null never parks."""


class TenantSettings(Frozen):
    """A user or team: whoever holds its key, or one of `aquahost keys add` of its name."""

    key: str | None = Field(default=None, min_length=8)
    """Bearer token of the HTTP API. Those of `aquahost keys add` are kept as digests alone."""
    weight: float = Field(default=1.0, gt=0, le=1e6)
    """Share of a model that is fought over, in proportion to others' weights."""
    models: tuple[Name, ...] | None = None
    """Those that it may use and see; null means all."""
    max_queue: int | None = Field(default=None, ge=1)
    """Live prompts over all models beyond which new ones are answered with 429; null leaves it to the models."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Requests beyond which more are answered with 429, until there is room in the minute; null sets no limit."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Tokens of input and output, likewise."""


class JobSettings(Frozen):
    """Jobs and batches: prompts that outlive their clients and the daemon."""

    concurrency: int = Field(default=8, ge=1, le=1024)
    """Most jobs of one model that run at the same time; half as many as its `max_queue` at most."""
    weight: float = Field(default=0.25, gt=0, le=1e6)
    """Share of a model that a tenant's jobs get, in proportion to the tenant's prompts that somebody waits for."""
    max_queued: int = Field(default=100_000, ge=1)
    """Jobs of a tenant not yet ended beyond which its new ones are answered with 429."""
    max_upload_bytes: Bytes = 100 * MIB
    """A larger file is answered with 413."""
    max_batch_lines: int = Field(default=50_000, ge=1)
    """Most requests of one batch."""
    keep_s: Seconds = 7 * 24 * 3600.0
    """How long ended jobs and files are kept."""
    max_bytes: Bytes = 10 << 30
    """Disk space of a tenant's results and files beyond which its oldest are removed; its newest stays."""


class ToySettings(Frozen):
    """Timing of a model of kind "toy", which has no weights."""

    load_s: Seconds = 0.5
    step_s: Seconds = 0.01
    """Time of one step, in which every running prompt gets one token."""
    fail: str | None = None
    """Fail the load with this reason."""


class TrafficSettings(Frozen):
    """What is expected to be asked of a model; `plan` and `simulate` go by it, the daemon does not."""

    rate_per_s: float = Field(default=0.0, ge=0, le=1e6)
    """Prompts a second, on average."""
    input_tokens: int = Field(default=512, ge=1)
    """Mean length of a language prompt."""
    output_tokens: int = Field(default=256, ge=1)
    """Mean length of its reply."""
    duration_s: Seconds = 10.0
    """Mean length of a sound."""
    adapters: int = Field(default=0, ge=0, le=10_000)
    """LoRA adapters, of which each language prompt asks for one; for `simulate` alone."""
    adapter_bytes: Bytes = 200 * MIB
    """Of one adapter."""
    adapter_slots: int = Field(default=4, ge=1)
    """Adapters that the model's GPU has room for."""


class ModelSettings(Frozen):
    """One hosted model."""

    # `kinds` says which keys are for some kinds alone; the JSON Schema puts that before their descriptions.
    kind: Kind
    """What it makes: "llm" text, "image", "audio", or "toy" (no model, for trying things out)."""
    source: str = ""
    """hub id ("org/name"), folder, or "demo:chat", "demo:paint", "demo:sing". A folder that starts with "./", "../"
    or "~/" is found from the folder of models.yaml, or from home."""
    revision: str | None = None
    """branch, tag or commit on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto" is the checkpoint's on a GPU and float32 on a CPU, where bfloat16 is slower."""
    gpu: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    """GPU's number, or "auto": the one with most free memory."""
    autoload: bool = True
    """Load at start; otherwise with `aquahost load` or at the first prompt."""
    trust_remote_code: bool = False
    """run Python code that comes with the model. Only for sources you trust."""
    policy: Policy | None = None
    """how its prompts share it; the default is scheduler.policy."""
    max_queue: int = Field(default=256, ge=1)
    """Live prompts beyond which new ones are answered with 429."""
    max_context: int | None = Field(default=None, ge=8)
    """tokens of input and output together; the default is what the model was made for."""
    kv_bytes: Bytes | None = None
    """memory for KV blocks on its GPU (with tensor_parallel on each of its GPUs), held in chunks of whole blocks and
    pages; the default is 80 % of what the GPU has free once the weights are loaded."""
    block_tokens: int = Field(default=16, ge=1, le=256)
    """tokens in one KV block."""
    borrow_bytes: Bytes | None = None
    """most KV memory to borrow from other GPUs (with tensor_parallel on each of its GPUs); 0 borrows none, the default
    is four times kv_bytes."""
    host_kv_bytes: Bytes | None = None
    """most host memory for KV blocks that fit on no GPU (with tensor_parallel on each of its GPUs), taken only when
    needed; 0 takes none, the default is four times kv_bytes."""
    pin: bool = False
    """never park it, however long it is idle."""
    steps: int | None = Field(default=None, ge=1, le=1000)
    """denoising steps where the request does not say."""
    max_steps: int = Field(default=200, ge=1)
    """most denoising steps of a request."""
    guidance: float | None = Field(default=None, ge=0, le=1000)
    """guidance scale where the request does not say."""
    size_px: int | None = Field(default=None, ge=8)
    """width and height where the request does not say."""
    max_size_px: int = Field(default=2048, ge=8)
    """largest width or height of a request."""
    max_duration_s: Seconds = 60.0
    """longest sound of a request."""
    max_concurrent: int = Field(default=4, ge=1)
    """prompts begun at the same time; each holds its latents."""
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    """GPUs that hold it together. Can be planned and simulated; the daemon loads models of one GPU only."""
    replicas: int = Field(default=1, ge=1, le=64)
    """copies of it, each on GPUs of its own. Can be planned and simulated; the daemon loads one."""
    traffic: TrafficSettings = TrafficSettings()
    """what is expected to be asked of it, for `plan` and `simulate`."""
    toy: ToySettings = ToySettings()
    """its timing."""

    @model_validator(mode="after")
    def _source_given(self) -> ModelSettings:
        if self.kind is not Kind.TOY and not self.source:
            raise ValueError("source is missing: a hub id (org/name) or a folder")
        return self


class Settings(Frozen):
    """All of models.yaml."""

    host: HostSettings = HostSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    leasing: LeasingSettings = LeasingSettings()
    jobs: JobSettings = JobSettings()
    tenants: dict[Name, TenantSettings] = Field(default={})
    """By name. Without tenants, and without keys of `aquahost keys add`, the API takes any key, or none."""
    models: dict[Name, ModelSettings] = Field(default={})
    """By the name that clients ask for."""
