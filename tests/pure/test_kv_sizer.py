"""KV memory follows prompts' needs, in portions while they run."""

from __future__ import annotations

from aquahost.clock import VirtualClock
from aquahost.config.settings import LeasingSettings
from aquahost.engines.llm.kv_sizer import MOST_MAPPED_BYTES, KvSizer
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.messages.memory import Claim, ClaimSettled
from aquahost.scheduling.fcfs import Fcfs
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.scheduler import Scheduler
from aquahost.scheduling.sizes import Sizes
from aquahost.simulator.kv_shard import KvShard
from aquahost.units import GIB, MIB

CHUNK = 64 * MIB


class Host:
    """A model of 40 GiB of KV memory whose broker settles every claim."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.desk = MemoryDesk(LeasingSettings(linger_s=1.0), self.clock, exchange=lambda reports: [])
        sizes = Sizes(most_blocks=20 * 1024, block_tokens=16, step_tokens=512, max_batch=64)
        self.scheduler = Scheduler(sizes, Fcfs())
        self.kv = KvShard(
            block_bytes=2 * MIB,
            block_tokens=16,
            chunk_bytes=CHUNK,
            local_bytes=40 * GIB,
            borrow_bytes=0,
            host_bytes=0,
        )
        self.sizer = KvSizer(self.kv, self.desk, self.scheduler)
        self.desk.claim(Part.KV, self.kv.local_bytes)
        self.answer()

    def answer(self) -> None:
        for report in self.desk.take_reports():
            if isinstance(report, Claim):
                self.desk.on_memory(ClaimSettled(report.nbytes))

    def tend(self, seconds: float = 0.02) -> int:
        self.clock.advance(seconds)
        before = self.kv.mapped_local
        self.sizer.tend(parked=False, may_borrow=True)
        self.answer()
        return self.kv.mapped_local - before


def test_an_idle_model_gives_up_all_but_its_headroom_at_once() -> None:
    host = Host()
    host.tend(0.02)
    host.tend(1.5)
    assert host.kv.mapped_local == 160, "a quarter of 640 chunks"


def test_beside_prompts_no_pause_between_steps_is_long() -> None:
    host = Host()
    host.tend(0.02)
    host.tend(1.5)
    for name in range(20):
        host.scheduler.add(ScheduledPrompt(id=f"p{name}", tokens=10_000, max_tokens=12_000))
    grown = [host.tend() for _ in range(60)]
    portion = MOST_MAPPED_BYTES // CHUNK
    assert max(grown) == portion
    assert host.kv.mapped_local == 561, "what they will hold soon, and the headroom"
    assert not host.sizer.more_is_coming
    for name in range(19):
        host.scheduler.remove(f"p{name}")
    host.tend()
    shrunk = [host.tend(1.1) for _ in range(60)]
    assert min(shrunk) == -portion
    assert host.kv.mapped_local < 250
