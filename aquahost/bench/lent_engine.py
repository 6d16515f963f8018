"""A language engine with lenders around it, in this process: the real engine, broker and emulated driver, no daemon."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquahost.bench.tiny_llama import make_tiny_llama
from aquahost.clock import SystemClock
from aquahost.config.settings import Kind, LeasingSettings, ModelSettings, SchedulerSettings
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.leasing import events, instructions
from aquahost.leasing.broker import Broker
from aquahost.leasing.limits import LeasingLimits
from aquahost.messages import memory
from aquahost.messages.prompts import Output, Prompt, Sampling, TextRequest

if TYPE_CHECKING:
    from aquahost.engines.llm.engine import LlmEngine
    from aquahost_cuda.driver import Driver

_BORROWER = 1
_FIRST_OWNER = 100


class LentEngine:
    """The engine on GPU 0, and owners of the other GPUs, who claim their memory back when told to."""

    def __init__(self, gpus: int, gpu_bytes: int, *, cooldown_s: float = 0.0) -> None:
        self.clock = SystemClock()
        self.desk = MemoryDesk(LeasingSettings(linger_s=0.2), self.clock, exchange=self._exchange)
        self.settled: dict[int, float] = {}
        """When the owner of a GPU last had a claim settled, on the clock."""
        self.driver: Driver
        self.engine: LlmEngine
        self._broker = Broker(LeasingLimits(cooldown_s=cooldown_s))
        self._for_engine: list[memory.MemoryInstruction] = []
        links = {(a, b): 9e9 for a in range(gpus) for b in range(gpus) if a != b}
        self._tell(events.LinksFound(links, dict.fromkeys(range(gpus), 0.9e9)))
        for gpu in range(gpus):
            self._tell(events.GpuRead(gpu, gpu_bytes, 0))
            self._tell(events.WorkerJoined(_FIRST_OWNER + gpu if gpu else _BORROWER, f"on GPU {gpu}", gpu))

    def claim(self, gpu: int, nbytes: int) -> None:
        """Let the owner of a GPU claim so much of it; `settled` tells when that was granted."""
        self._tell(events.ClaimMade(_FIRST_OWNER + gpu, nbytes))

    def lent_bytes(self, gpu: int) -> int:
        """What is lent of a GPU."""
        return self._broker.ledger.gpu(gpu).lent_bytes

    def round(self) -> list[Output]:
        """One pass of a worker's loop."""
        self.engine.tend()
        self._hear(self.engine.memory_reports())
        if self._broker.is_waiting:
            self._tell(events.TimePassed())
        for message in self._take():
            self.engine.on_memory(message)
        return self.engine.step() if self.engine.has_work() else []

    def submit(self, prompt_id: str, token_ids: list[int], output_tokens: int) -> None:
        """A greedy prompt that does not end early."""
        sampling = Sampling(max_tokens=output_tokens, temperature=0, ignore_eos=True)
        request = TextRequest(token_ids=token_ids, sampling=sampling)
        self.engine.submit(Prompt(id=prompt_id, model="tiny", tenant="", request=request, created_s=0.0))

    def _exchange(self, reports: list[memory.MemoryReport]) -> list[memory.MemoryInstruction]:
        self._hear(reports)
        return self._take()

    def _take(self) -> list[memory.MemoryInstruction]:
        taken, self._for_engine = self._for_engine, []
        return taken

    def _hear(self, reports: list[memory.MemoryReport]) -> None:
        for report in reports:
            match report:
                case memory.Claim(nbytes):
                    self._tell(events.ClaimMade(_BORROWER, nbytes))
                case memory.Demand(nbytes, granule_bytes):
                    self._tell(events.DemandMade(_BORROWER, nbytes, granule_bytes))
                case memory.LeaseMapped(lease_id):
                    self._tell(events.LeaseMapped(lease_id, _BORROWER))
                case memory.LeaseReturned(lease_id, nbytes):
                    self._tell(events.LeaseReturned(lease_id, nbytes, _BORROWER))
                case memory.LeaseFailed(lease_id, reason):
                    self._tell(events.LeaseFailed(lease_id, reason, _BORROWER))

    def _tell(self, event: events.BrokerEvent) -> None:
        for said in self._broker.handle(event, self.clock.now_s()):
            match said:
                case instructions.GrantLease(_, lease_id, donor, nbytes, rate):
                    self._for_engine.append(memory.LeaseGranted(lease_id, donor, nbytes, rate))
                case instructions.RecallLease(_, lease_id, keep_bytes, deadline_s):
                    self._for_engine.append(memory.LeaseRecalled(lease_id, keep_bytes, deadline_s))
                case instructions.SettleClaim(worker, nbytes) if worker == _BORROWER:
                    self._for_engine.append(memory.ClaimSettled(nbytes))
                case instructions.SettleClaim(worker, _):
                    self.settled[worker - _FIRST_OWNER] = self.clock.now_s()
                case instructions.RefuseClaim(worker, nbytes, available_bytes) if worker == _BORROWER:
                    self._for_engine.append(memory.ClaimRefused(nbytes, available_bytes))
                case instructions.KillWorker() | instructions.RefuseClaim():
                    raise RuntimeError(f"the measurement went wrong: {said}")


@contextmanager
def lent_engine(
    *, gpus: int, gpu_bytes: int, model: dict[str, Any], links: Mapping[str, float] | None = None
) -> Iterator[LentEngine]:
    """The bench's tiny Llama on GPU 0 of such a node; `model` is more of its entry, `links` rates of the node's."""
    import torch

    from aquahost.engines.device import EngineDevice
    from aquahost.engines.llm.load import load_llm
    from aquahost_cuda.driver import EmulatedNode, load

    torch.set_num_threads(1)  # as a worker's on two cores and two models; the emulated copy streams need a core too
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        make_tiny_llama(Path(folder))
        lent = LentEngine(gpus, gpu_bytes)
        driver = load("emulated", EmulatedNode(path=f"{folder}/node", gpus=gpus, gpu_bytes=gpu_bytes, **(links or {})))  # type: ignore[arg-type]
        lent.driver = driver
        device = EngineDevice(driver, 0, lent.desk)
        settings = ModelSettings(kind=Kind.LLM, source=folder, **model)
        lent.engine = load_llm("tiny", settings, SchedulerSettings(), device, lambda progress: None)
        try:
            yield lent
        finally:
            lent.engine.close()
            device.close()
