"""Keys: how they are made and kept, and whose a key is."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.api.auth import Gatekeeper
from aquahost.api.errors import ForbiddenError, UnauthorizedError
from aquahost.config.settings import Settings
from aquahost.errors import ConfigError, StartError
from aquahost.keys.key_file import KeyFile
from aquahost.keys.keyring import Keyring
from aquahost.keys.last_used import LastUsed
from aquahost.keys.record import new_key
from fake_daemon import fake_settings

TCP = {"server": ("10.0.0.1", 8712), "client": ("10.0.0.9", 5000), "headers": []}
UNIX = {"server": ("/run/aquahost.sock", None), "client": None, "headers": []}


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "state" / "keys.json")


def carrying(key: str, scope: dict[str, Any] = TCP) -> dict[str, Any]:
    return {**scope, "headers": [(b"authorization", b"Bearer " + key.encode())]}


def test_a_key_is_random_and_only_its_digest_is_kept(file: KeyFile) -> None:
    record, key = file.add("web", weight=2.0, models=["chat"])
    _, other = file.add("web")
    assert re.fullmatch(rf"aqh_{record.id}_[A-Za-z0-9_-]{{43}}", key)
    assert key.rpartition("_")[2] not in other
    text = file.path.read_text()
    assert key not in text
    assert key[-43:] not in text
    assert hashlib.sha256(key.encode()).hexdigest() in text
    kept = file.read()[0]
    assert kept == record
    assert (kept.name, kept.weight, kept.models, kept.admin, kept.is_live) == ("web", 2.0, ("chat",), False, True)


def test_the_file_and_its_folder_are_private(file: KeyFile) -> None:
    file.add("web")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_revoking_by_id_by_name_and_again(file: KeyFile) -> None:
    first, _ = file.add("web")
    second, _ = file.add("web")
    file.add("batch")
    assert [record.id for record in file.revoke(first.id)] == [first.id]
    assert [record.id for record in file.revoke("web")] == [second.id]
    assert file.revoke("web") == file.revoke(first.id) == file.revoke("nobody") == []
    assert [record.is_live for record in file.read()] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"schema_version": 2, "keys": []}', "version 2"),
        (
            '{"schema_version": 1, "keys": [{"id": "../../etc", "name": "a", "digest": "", "created_at": ""}]}',
            "damaged",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_and_left_alone(file: KeyFile, text: str, word: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(text)
    file.path.chmod(0o600)
    for act in (file.read, lambda: file.add("web"), lambda: file.revoke("web"), lambda: Keyring(Settings(), file)):
        with pytest.raises(ConfigError, match=word) as caught:
            act()
        assert "\n" not in str(caught.value)
        assert str(file.path) in str(caught.value)
    assert file.path.read_text() == text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(file: KeyFile, mode: int) -> None:
    file.add("web")
    file.path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        file.read()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="AQUAHOST_STATE_DIR"):
        KeyFile(tmp_path / "file" / "keys.json").add("web")


def _add_many(path: str, name: str, count: int) -> None:
    for _ in range(count):
        KeyFile(Path(path)).add(name)


def test_processes_that_add_at_once_lose_no_key(file: KeyFile) -> None:
    context = multiprocessing.get_context("fork")
    work = [context.Process(target=_add_many, args=(str(file.path), f"t{number}", 10)) for number in range(3)]
    for process in work:
        process.start()
    for process in work:
        process.join()
    names = [record.name for record in file.read()]
    assert {name: names.count(name) for name in names} == {"t0": 10, "t1": 10, "t2": 10}


def test_a_ring_follows_its_file(file: KeyFile) -> None:
    ring = Keyring(Settings(), file)
    assert not ring.required
    _, key = file.add("web", weight=3.0, models=["chat"])
    assert ring.required
    found = ring.holder(key.encode())
    assert found is not None
    assert (found.tenant, found.models, found.admin) == ("web", frozenset({"chat"}), False)
    weights = ring.weights
    assert dict(weights) == {"web": 3.0}
    _, second = file.add("web")
    assert ring.holder(second.encode()) is not None
    file.revoke(found.key_id or "")
    assert ring.holder(key.encode()) is None
    assert ring.holder(second.encode()) is not None
    assert dict(weights) == {"web": 1.0}


def test_the_last_key_s_end_does_not_open_the_door(file: KeyFile) -> None:
    file.add("web")
    ring = Keyring(Settings(), file)
    file.revoke("web")
    assert ring.required
    assert Keyring(Settings(), file).required
    file.path.unlink()
    assert ring.required


def test_a_file_broken_later_changes_nothing_and_is_told_of_once(
    file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = file.add("web")
    ring = Keyring(Settings(), file)
    file.path.write_text("{")
    for _ in range(3):
        assert ring.holder(key.encode()) is not None
    assert caplog.text.count("the keys known before still hold") == 1
    file.path.unlink()
    _, second = file.add("web")
    assert ring.holder(second.encode()) is not None
    assert ring.holder(key.encode()) is None


def test_a_file_that_could_not_be_read_is_read_with_the_next_request(
    file: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, key = file.add("web")
    ring = Keyring(Settings(), file)
    file.revoke("web")
    with monkeypatch.context() as patched:

        def refuse(*_: Any, **__: Any) -> str:
            raise OSError(errno.EMFILE, "Too many open files")

        patched.setattr(Path, "read_bytes", refuse)
        patched.setattr(Path, "read_text", refuse)
        patched.setattr(Path, "open", refuse)
        patched.setattr("os.open", refuse)
        assert ring.holder(key.encode()) is not None, "what cannot be read changes nothing"
    assert ring.holder(key.encode()) is None


def test_a_tenant_of_models_yaml_need_have_no_key_there(file: KeyFile) -> None:
    ring = Keyring(fake_settings(tenants={"web": {"weight": 2.0, "models": ["chat"]}}), file)
    assert ring.required
    assert ring.holder(b"None") is None
    _, key = file.add("web")
    holder = ring.holder(key.encode())
    assert holder is not None
    assert (holder.tenant, holder.models, ring.weights["web"]) == ("web", {"chat"}, 2.0)


def test_a_key_for_nobody_s_name_opens_nothing(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    record, key = file.add("default")
    ring = Keyring(fake_settings(), file)
    assert ring.required
    assert ring.holder(key.encode()) is None
    assert record.id in caplog.text


def test_keys_that_lose_their_limits_are_told_of(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    tenants = {name: {"models": ["chat"]} for name in ("web", "lab", "ops")}
    file.add("web")
    file.add("ops", admin=True)
    file.add("lab")
    file.revoke("lab")
    ring = Keyring(fake_settings(tenants=tenants), file)
    ring.use(fake_settings())
    (record,) = caplog.records
    assert "aquahost keys revoke web" in record.getMessage()


def test_models_yaml_has_the_last_word_on_its_tenants(file: KeyFile) -> None:
    tenants = {"web": {"key": "key-of-web", "weight": 2.0, "models": ["chat", "paint"]}}
    settings = fake_settings(tenants=tenants)
    ring = Keyring(settings, file)
    _, narrow = file.add("web", weight=9.0, models=["paint", "sing"])
    _, wide = file.add("web")
    found = [ring.holder(key.encode()) for key in ("key-of-web", narrow, wide)]
    assert [holder and holder.models for holder in found] == [{"chat", "paint"}, {"paint"}, {"chat", "paint"}]
    assert ring.weights["web"] == 2.0
    ring.use(fake_settings())
    assert ring.holder(b"key-of-web") is None
    assert [holder and holder.models for holder in (ring.holder(narrow.encode()), ring.holder(wide.encode()))] == [
        {"paint", "sing"},
        None,
    ]
    assert ring.weights["web"] == 9.0


@given(st.binary(max_size=200), st.sampled_from(["case", "cut", "longer", "space"]))
def test_only_the_very_key_opens(other: bytes, change: str) -> None:
    settings = fake_settings(tenants={"red": {"key": "Red-secret-ß"}}, host={"admin_key": "admin-secret"})
    ring = Keyring(settings)
    key = "Red-secret-ß".encode()
    changed = {"case": key.swapcase(), "cut": key[:-1], "longer": key + b"\0", "space": key + b" "}[change]
    assert ring.holder(changed) is None
    found = ring.holder(other)
    assert (found is not None) == (other in (key, b"admin-secret"))
    assert ring.holder(key) is not None


def test_the_digest_of_a_key_is_no_key(file: KeyFile) -> None:
    record, key = file.add("web")
    ring = Keyring(Settings(), file)
    for wrong in (record.digest, record.id, new_key(record.id), bytes.fromhex(record.digest).decode("latin-1")):
        assert ring.holder(wrong.encode("latin-1")) is None
    assert ring.holder(key.encode()) is not None


def test_admin_keys_are_apart_from_users(file: KeyFile) -> None:
    _, admin = file.add("ops", admin=True)
    ring = Keyring(fake_settings(), file)
    gate = Gatekeeper(fake_settings(), ring)
    assert not ring.required
    assert gate.tenant(carrying("anything", {**TCP, "headers": []})) == "default"
    gate.require_control(carrying(admin))
    _, user = file.add("web")
    assert gate.tenant(carrying(user)) == "web"
    with pytest.raises(ForbiddenError):
        gate.require_control(carrying(user))
    with pytest.raises(UnauthorizedError):
        gate.require_control(carrying("aqh_wrong"))
    for scope in (carrying(admin), carrying(admin, UNIX)):
        with pytest.raises(UnauthorizedError, match="no user's key"):
            gate.holder(scope)
    file.revoke("ops")
    with pytest.raises(ForbiddenError, match="--admin"):
        gate.require_control(carrying(admin))
    gate.require_control(UNIX)


def test_figures_of_all_models_are_not_for_keys_of_some(file: KeyFile) -> None:
    _, some = file.add("web", models=["chat"])
    _, every = file.add("all")
    gate = Gatekeeper(fake_settings(), Keyring(fake_settings(), file))
    gate.require_watcher(carrying(every))
    with pytest.raises(ForbiddenError):
        gate.require_watcher(carrying(some))
    assert not gate.may_watch(carrying(some))
    assert not gate.may_watch(TCP)
    assert gate.may_watch(carrying(every))


def test_last_use_is_noted_for_keys_of_the_file(file: KeyFile, tmp_path: Path) -> None:
    used = LastUsed(tmp_path / "used")
    record, key = file.add("web")
    ring = Keyring(fake_settings(tenants={"red": {"key": "red-secret"}}), file, used)
    assert used.at(record.id) is None
    for one in (b"red-secret", b"wrong"):
        ring.holder(one)
    assert not (tmp_path / "used").exists()
    ring.holder(key.encode())
    at_s = used.at(record.id)
    assert at_s is not None
    assert at_s >= file.path.stat().st_mtime
    assert [path.name for path in (tmp_path / "used").iterdir()] == [record.id]


def test_a_use_that_cannot_be_noted_keeps_nobody_out(file: KeyFile, tmp_path: Path) -> None:
    (tmp_path / "used").write_text("a file")
    _, key = file.add("web")
    assert Keyring(Settings(), file, LastUsed(tmp_path / "used")).holder(key.encode()) is not None
