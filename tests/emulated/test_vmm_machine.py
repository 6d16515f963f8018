"""Any sequence of memory calls keeps the emulated driver's books right."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from aquahost_cuda.arena import Arena, ChunkMove
from aquahost_cuda.check import OutOfMemoryError
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.vmm import Buffer, Location, grant
from driver_fixtures import NOTHING, PAGE, name_of, small_node

GPUS = 2
GPU_PAGES = 12
gpus = st.integers(0, GPUS - 1)
pages = st.integers(1, 4)


class _Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.driver = EmulatedDriver(small_node(self.folder, gpus=GPUS, gpu_bytes=GPU_PAGES * PAGE))
        self.driver.cuInit(0)

    def used_pages(self, gpu: int) -> int:
        """What a model of the driver says is used."""
        raise NotImplementedError

    def give_back(self) -> None:
        """Undo everything."""
        raise NotImplementedError

    @invariant()
    def books_are_right(self) -> None:
        for gpu in range(GPUS):
            assert self.driver.memory_of(gpu) == ((GPU_PAGES - self.used_pages(gpu)) * PAGE, GPU_PAGES * PAGE)

    def teardown(self) -> None:
        self.give_back()
        self.books_are_right()
        assert self.driver.live() == NOTHING
        self.driver.close()
        shutil.rmtree(self.folder)


class _Memory:
    """The model of one allocation."""

    def __init__(self, gpu: int, pages: int, handle: object) -> None:
        self.gpu = gpu
        self.pages = pages
        self.handle = handle
        self.released = False
        self.mapped_at: set[int] = set()

    @property
    def alive(self) -> bool:
        return not self.released or bool(self.mapped_at)


class _Range:
    """The model of one reservation."""

    def __init__(self, address: int, pages: int) -> None:
        self.address = address
        self.pages = pages
        self.mappings: dict[int, _Memory] = {}
        self.freed = False

    def owns(self, page: int) -> bool:
        """Whether an address is surely of this reservation: another may begin where it ends, or ended."""
        return not self.freed and page < self.pages

    def is_free(self, first: int, count: int) -> bool:
        """Whether pages lie within and nothing is mapped at them."""
        taken = {page for start, memory in self.mappings.items() for page in range(start, start + memory.pages)}
        return first + count <= self.pages and not taken & set(range(first, first + count))


class MappingMachine(_Machine):
    """reserve, create, map, unmap, release and free in any order."""

    ranges = Bundle("ranges")
    memories = Bundle("memories")

    def __init__(self) -> None:
        super().__init__()
        self.all_ranges: list[_Range] = []
        self.all_memories: list[_Memory] = []

    def used_pages(self, gpu: int) -> int:
        return sum(memory.pages for memory in self.all_memories if memory.gpu == gpu and memory.alive)

    @rule(target=ranges, count=pages)
    def reserve(self, count: int) -> _Range:
        address = int(self.driver.cuMemAddressReserve(count * PAGE, 0, 0, 0)[1])
        self.all_ranges.append(_Range(address, count))
        return self.all_ranges[-1]

    @rule(target=memories, gpu=gpus, count=pages)
    def create(self, gpu: int, count: int) -> object:
        prop = self.driver.CUmemAllocationProp()
        prop.type = self.driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        prop.location.type = self.driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        prop.location.id = gpu
        fits = self.used_pages(gpu) + count <= GPU_PAGES
        answer = self.driver.cuMemCreate(count * PAGE, prop, 0)
        assert name_of(answer) == ("CUDA_SUCCESS" if fits else "CUDA_ERROR_OUT_OF_MEMORY")
        if not fits:
            return multiple()
        self.all_memories.append(_Memory(gpu, count, answer[1]))
        return self.all_memories[-1]

    @rule(memory=memories)
    def release(self, memory: _Memory) -> None:
        answer = self.driver.cuMemRelease(memory.handle)
        assert name_of(answer) == ("CUDA_ERROR_INVALID_VALUE" if memory.released else "CUDA_SUCCESS")
        memory.released = True

    @rule(memory=memories, within=ranges, first=st.integers(0, 3))
    def map(self, memory: _Memory, within: _Range, first: int) -> None:
        if not within.owns(first):
            return
        address = within.address + first * PAGE
        allowed = not memory.released and within.is_free(first, memory.pages)
        answer = self.driver.cuMemMap(address, memory.pages * PAGE, 0, memory.handle, 0)
        assert name_of(answer) == ("CUDA_SUCCESS" if allowed else "CUDA_ERROR_INVALID_VALUE")
        if allowed:
            within.mappings[first] = memory
            memory.mapped_at.add(address)
            grant(self.driver, address, memory.pages * PAGE, [Location.device(memory.gpu)])
            ctypes.memset(address, 1, memory.pages * PAGE)

    @rule(within=ranges, first=st.integers(0, 3), count=pages)
    def unmap(self, within: _Range, first: int, count: int) -> None:
        memory = within.mappings.get(first)
        if not within.owns(first):
            return
        allowed = memory is not None and memory.pages == count
        answer = self.driver.cuMemUnmap(within.address + first * PAGE, count * PAGE)
        assert name_of(answer) == ("CUDA_SUCCESS" if allowed else "CUDA_ERROR_INVALID_VALUE")
        if allowed and memory is not None:
            del within.mappings[first]
            memory.mapped_at.discard(within.address + first * PAGE)

    @rule(within=ranges)
    def free(self, within: _Range) -> None:
        if within.freed:
            return
        answer = self.driver.cuMemAddressFree(within.address, within.pages * PAGE)
        assert name_of(answer) == ("CUDA_ERROR_INVALID_VALUE" if within.mappings else "CUDA_SUCCESS")
        within.freed = not within.mappings

    def give_back(self) -> None:
        for within in self.all_ranges:
            for first, memory in list(within.mappings.items()):
                self.unmap(within, first, memory.pages)
            self.free(within)
        for memory in self.all_memories:
            self.release(memory)


places = st.sampled_from([Location.device(0), Location.device(1), Location.host()])


class ArenaMachine(_Machine):
    """An arena and some buffers compete for the GPUs; what the arena holds keeps its bytes wherever it goes."""

    CHUNK_PAGES = 2
    CAPACITY = 6

    def __init__(self) -> None:
        super().__init__()
        chunk_bytes = self.CHUNK_PAGES * PAGE
        self.arena = Arena(self.driver, 0, self.CAPACITY * chunk_bytes, chunk_bytes)
        self.chunks: dict[int, tuple[Location, int]] = {}
        """Where each mapped chunk lies, and the byte that fills it."""
        self.moves: dict[int, ChunkMove] = {}
        self.buffers: list[tuple[int, Buffer]] = []

    def used_pages(self, gpu: int) -> int:
        at = Location.device(gpu)
        chunks = [lies for lies, _ in self.chunks.values()] + [move.location for move in self.moves.values()]
        buffers = sum(buffer.nbytes // PAGE for index, buffer in self.buffers if index == gpu)
        return chunks.count(at) * self.CHUNK_PAGES + buffers

    def fits(self, chunks: int, location: Location) -> bool:
        """Whether a place has room for so many chunks."""
        used_pages = 0 if location == Location.host() else self.used_pages(location.index)
        return location == Location.host() or used_pages + chunks * self.CHUNK_PAGES <= GPU_PAGES

    def fill(self, chunk: int, location: Location, mark: int) -> None:
        """Write to a chunk that has just been mapped."""
        self.chunks[chunk] = (location, mark)
        ctypes.memset(self.arena.address + chunk * self.arena.chunk_bytes, mark, self.arena.chunk_bytes)

    @rule(chunks=st.integers(0, 4), location=places, mark=st.integers(1, 255))
    def grow(self, chunks: int, location: Location, mark: int) -> None:
        vacant = [chunk for chunk in range(self.CAPACITY) if chunk not in self.chunks]
        try:
            grown = self.arena.grow(chunks, location)
        except ValueError:
            assert chunks > len(vacant)
        except OutOfMemoryError:
            assert not self.fits(chunks, location)
        else:
            assert grown == vacant[:chunks]
            for chunk in grown:
                self.fill(chunk, location, mark)

    @rule(wanted=st.sets(st.integers(0, CAPACITY - 1)), location=places, mark=st.integers(1, 255))
    def map(self, wanted: set[int], location: Location, mark: int) -> None:
        try:
            self.arena.map(list(wanted), location)
        except ValueError:
            assert wanted & set(self.chunks)
        except OutOfMemoryError:
            assert not self.fits(len(wanted), location)
        else:
            for chunk in wanted:
                self.fill(chunk, location, mark)

    @rule(unwanted=st.sets(st.integers(0, CAPACITY - 1)))
    def unmap(self, unwanted: set[int]) -> None:
        try:
            self.arena.unmap(list(unwanted))
        except ValueError:
            assert not unwanted <= set(self.chunks) - set(self.moves)
        else:
            for chunk in unwanted:
                del self.chunks[chunk]

    @rule(chunk=st.integers(0, CAPACITY - 1), location=places)
    def begin_move(self, chunk: int, location: Location) -> None:
        try:
            move = self.arena.begin_move(chunk, location)
        except ValueError:
            assert chunk not in self.chunks or chunk in self.moves
        except OutOfMemoryError:
            assert not self.fits(1, location)
        else:
            self.moves[chunk] = move
            ctypes.memset(move.address, self.chunks[chunk][1], self.arena.chunk_bytes)

    @rule(done=st.booleans(), data=st.data())
    def end_move(self, done: bool, data: st.DataObject) -> None:
        if not self.moves:
            return
        chunk = data.draw(st.sampled_from(sorted(self.moves)))
        move = self.moves.pop(chunk)
        if done:
            move.finish()
            self.chunks[chunk] = (move.location, self.chunks[chunk][1])
        else:
            move.abandon()

    @rule(gpu=gpus, count=st.integers(1, 6))
    def take(self, gpu: int, count: int) -> None:
        try:
            self.buffers.append((gpu, Buffer(self.driver, gpu, count * PAGE)))
        except OutOfMemoryError:
            assert self.used_pages(gpu) + count > GPU_PAGES

    @rule()
    def give(self) -> None:
        if self.buffers:
            self.buffers.pop()[1].close()

    @invariant()
    def the_arena_holds_what_it_says(self) -> None:
        lies = {chunk: at for chunk, at in enumerate(self.arena.locations()) if at is not None}
        assert lies == {chunk: at for chunk, (at, _) in self.chunks.items()}
        assert self.arena.mapped_bytes == len(lies) * self.arena.chunk_bytes
        for chunk, (_, mark) in self.chunks.items():
            address = self.arena.address + chunk * self.arena.chunk_bytes
            assert ctypes.c_uint8.from_address(address).value == mark
            assert ctypes.c_uint8.from_address(address + self.arena.chunk_bytes - 1).value == mark

    def give_back(self) -> None:
        self.arena.close()
        for _, buffer in self.buffers:
            buffer.close()
        self.chunks, self.moves, self.buffers = {}, {}, []

    def teardown(self) -> None:
        self.the_arena_holds_what_it_says()
        super().teardown()


TestMapping = MappingMachine.TestCase
TestMapping.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestArena = ArenaMachine.TestCase
TestArena.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
