"""The API's parts that decide by themselves: keys, kept images, log tails, the prompts of a request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.api.auth import Gatekeeper, on_unix_socket
from aquahost.api.errors import ForbiddenError, UnauthorizedError
from aquahost.api.logs import LogTail, last_lines, log_text
from aquahost.api.media_store import MediaStore
from aquahost.api.prompts import ClientGoneError, PromptGroup, while_connected
from aquahost.clock import VirtualClock
from aquahost.messages.prompts import Accepted, TextRequest, Tokens
from fake_daemon import FakeDaemon, fake_settings, hang

TCP = {"server": ("127.0.0.1", 8712), "client": None, "headers": []}
UNIX = {"server": ("/run/aquahost.sock", None), "client": None, "headers": []}


def test_a_tcp_client_without_address_is_not_local() -> None:
    """uvicorn has no client address for a connection that is already reset."""
    assert not on_unix_socket(TCP)
    assert not on_unix_socket({**TCP, "server": None})
    assert on_unix_socket(UNIX)
    gate = Gatekeeper(fake_settings())
    gate.require_control(UNIX)
    with pytest.raises(ForbiddenError):
        gate.require_control(TCP)


@pytest.mark.parametrize(
    ("header", "tenant"),
    [
        (b"Bearer red-secret", "red"),
        (b"bearer  red-secret ", "red"),
        (b"Bearer red-secre", None),
        (b"Bearer red-secret2", None),
        (b"Bearer ", None),
        (b"red-secret", None),
        (b"", None),
    ],
)
def test_tenant_keys(header: bytes, tenant: str | None) -> None:
    gate = Gatekeeper(fake_settings(tenants={"red": {"key": "red-secret"}}))
    scope: dict[str, Any] = {**TCP, "headers": [(b"authorization", header)]}
    if tenant is not None:
        assert gate.tenant(scope) == tenant
    else:
        with pytest.raises(UnauthorizedError):
            gate.tenant(scope)


def test_a_wrong_key_is_wrong_on_the_socket_too() -> None:
    gate = Gatekeeper(fake_settings(tenants={"red": {"key": "red-secret"}}))
    assert gate.tenant(UNIX) == "default"
    with pytest.raises(UnauthorizedError):
        gate.tenant({**UNIX, "headers": [(b"authorization", b"Bearer wrong")]})


@pytest.mark.parametrize(
    "hosts", [[b"evil.example"], [b"localhost", b"evil.example"], [b"\xe4"], [b"["], [b"127.0.0.1."]]
)
def test_foreign_names(hosts: list[bytes]) -> None:
    gate = Gatekeeper(fake_settings())
    headers = [(b"host", host) for host in hosts]
    with pytest.raises(ForbiddenError):
        gate.refuse_foreign_names({**TCP, "headers": headers})
    gate.refuse_foreign_names({**UNIX, "headers": headers})
    gate.refuse_foreign_names(TCP)  # HTTP/1.0 needs no name, and no browser speaks it


LOCAL = {**TCP, "client": ("127.0.0.1", 50000)}
FAR = {**TCP, "client": ("10.0.0.9", 50000)}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", [b"localhost:8712", b"127.0.0.1:8712", b"[::1]:8712"])
def test_figures_are_free_for_programs_on_this_machine(address: str, host: bytes) -> None:
    gate = Gatekeeper(fake_settings(tenants={"red": {"key": "red-secret"}}))
    gate.require_watcher(UNIX)
    gate.require_watcher({**TCP, "client": (address, 50000), "headers": [(b"host", host)]})


@pytest.mark.parametrize(
    "scope",
    [
        TCP,  # already reset
        FAR,
        {**FAR, "client": ("testclient", 1)},
        {**FAR, "client": ("::ffff:10.0.0.9", 1)},
        {**LOCAL, "headers": [(b"host", b"rebound.example")]},
        {**LOCAL, "headers": [(b"host", b"localhost"), (b"x-forwarded-for", b"10.0.0.9")]},
        {**LOCAL, "headers": [(b"host", b"localhost"), (b"forwarded", b"for=10.0.0.9")]},
    ],
)
def test_figures_need_a_key_from_elsewhere(scope: dict[str, Any]) -> None:
    gate = Gatekeeper(fake_settings(tenants={"red": {"key": "red-secret"}}, host={"admin_key": "admin-secret"}))
    for key in (b"red-secret", b"admin-secret"):
        gate.require_watcher({**scope, "headers": [*scope["headers"], (b"authorization", b"Bearer " + key)]})
    for headers in ([], [(b"authorization", b"Bearer wrong")], [(b"authorization", b"Bearer ")]):
        with pytest.raises(UnauthorizedError):
            gate.require_watcher({**scope, "headers": [*scope["headers"], *headers]})


def test_figures_are_as_open_as_the_models() -> None:
    """Where no tenant is named, anyone may use every model."""
    Gatekeeper(fake_settings()).require_watcher(FAR)


def test_images_expire() -> None:
    clock = VirtualClock()
    store = MediaStore(clock, keep_s=10)
    name = store.put(b"x", "image/png")
    assert name.endswith(".png")
    clock.advance(9.9)
    assert (media := store.get(name)) is not None
    assert (media.data, media.media_type) == (b"x", "image/png")
    clock.advance(0.2)
    assert store.get(name) is None
    assert store.used_bytes == 0


def test_images_are_bounded_and_the_oldest_go_first() -> None:
    store = MediaStore(VirtualClock(), capacity_bytes=100)
    names = [store.put(bytes(40), "image/webp") for _ in range(3)]
    assert [store.get(name) is not None for name in names] == [False, True, True]
    assert store.used_bytes == 80
    huge = store.put(bytes(500), "image/png")
    assert store.get(huge) is not None
    assert store.used_bytes == 500


@given(
    st.lists(st.text("ab", max_size=3), max_size=8),
    st.booleans(),
    st.integers(0, 9),
)
def test_last_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[str], closed: bool, count: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    text = "\n".join(lines) + ("\n" if closed and lines else "")
    path.write_text(text)
    expected = text.splitlines(keepends=True)[-count:] if count else []
    assert last_lines(path, count) == ("".join(expected).encode(), len(text))


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none", 5) == (b"", 0)
    assert LogTail(tmp_path / "none", 7).read() == b""


def test_a_tail_goes_on_after_a_cut_and_begins_a_new_file_at_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    tail = LogTail(path, 8)
    path.write_bytes(b"two\n")  # the same file, cut
    assert tail.read() == b""
    with path.open("ab") as file:
        file.write(b"three\n")
    assert tail.read() == b"three\n"
    (tmp_path / "new").write_bytes(b"another\n")
    (tmp_path / "new").rename(path)
    assert tail.read() == b"another\n"


async def test_a_log_that_never_rests_still_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    seen = []
    async for data in log_text(path, 5, ended=lambda: True):
        seen.append(data)
        with path.open("a") as file:
            file.write("more\n")
    assert b"".join(seen) == b"one\nmore\n"


async def test_a_group_merges_its_streams() -> None:
    daemon = FakeDaemon(script=lambda stream, _: stream.accept())
    with PromptGroup(daemon, "chat", [TextRequest(text="x")] * 3, "me") as group:
        first = await group.first()
        assert [(index, type(outputs[0])) for index, outputs in first] == [(0, Accepted), (1, Accepted), (2, Accepted)]
        daemon.streams[2].say("c")
        assert [(index, outputs) for index, outputs in await group.next()] == [(2, [Tokens("p3", "c", [1])])]
        for stream in daemon.streams:
            stream.finish()
        while group.live:
            await group.next()
    assert not any(stream.cancelled for stream in daemon.streams)


async def test_leaving_a_group_cancels_what_has_not_ended() -> None:
    daemon = FakeDaemon(script=hang)
    with PromptGroup(daemon, "chat", [TextRequest(text="x")] * 2, "me") as group:
        await group.first()
        daemon.streams[0].finish()
    assert [stream.cancelled for stream in daemon.streams] == [False, True]


async def test_work_ends_with_its_client() -> None:
    ended = asyncio.Event()
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def work() -> None:
        messages.put_nowait({"type": "http.request"})
        messages.put_nowait({"type": "http.disconnect"})
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientGoneError):
        await while_connected(work(), messages.get)
    assert ended.is_set()


async def test_work_ends_with_its_server() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(while_connected(work(), asyncio.Queue[dict[str, Any]]().get))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
