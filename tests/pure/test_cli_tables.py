"""Listings: golden tables, all fields for programs, nothing cut."""

from __future__ import annotations

import json
from textwrap import dedent

import pytest
import yaml

from aquahost.cli.gpus import index_cell, lost_cell
from aquahost.cli.output import RED
from aquahost.cli.status import memory_bar
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import ModelState, Snapshot
from aquahost.messages.wire import EngineStats, LoadProgress
from cli_harness import GIB, Canned, a_gpu, a_lease, a_model, a_prompt, a_snapshot, error, run_cli, sse

MODELS = (
    a_model("chat", queue=3),
    a_model("org/paint", ModelState.LOADING, kind="image", load=LoadProgress("loading weights", GIB, 4 * GIB)),
    a_model("sing", ModelState.FAILED, kind="audio", reason="needs 9.0 GiB,\n\x1b[31mhas 8.0 GiB"),
    a_model("idle", ModelState.UNLOADED, kind="toy"),
    a_model("again", restarts=2, reason="killed by SIGKILL"),
)
PROMPTS = [
    a_prompt("a1"),
    a_prompt("b2", model="org/paint", kind="image", state=PromptState.WAITING, steps=20, first_token_s=None),
]


@pytest.fixture
def api() -> Canned:
    return Canned(a_snapshot(*MODELS, prompts=PROMPTS, gpus=[a_gpu(0), a_gpu(1, models=[])]))


def golden(text: str) -> str:
    return dedent(text).lstrip("\n")


def test_ps(api: Canned) -> None:
    assert run_cli("ps", api=api).stdout == golden("""
        NAME       KIND   STATE        GPU  WEIGHTS       KV  BORROWED  QUEUE        RSS  NOTE
        chat       llm    ready          0  2.0 GiB  1.0 GiB         -  3/256  512.0 MiB  ready for 1m 05s
        org/paint  image  loading 25%    -        -        -         -  0/256          -  loading weights, 1.0 GiB of 4.0 GiB
        sing       audio  failed         -        -        -         -  0/256          -  needs 9.0 GiB, [31mhas 8.0 GiB
        idle       toy    unloaded       -        -        -         -  0/256          -
        again      llm    ready          0  2.0 GiB  1.0 GiB         -  0/256  512.0 MiB  ready for 1m 05s; restarted 2x: killed by SIGKILL
    """)  # noqa: E501 -- a table is not broken


def test_ps_shows_what_is_borrowed_and_where_a_parked_model_has_gone() -> None:
    models = [
        a_model("chat", stats=EngineStats(weights_bytes=2 * GIB, kv_bytes=3 * GIB, borrowed_bytes=4 * GIB)),
        a_model("paint", kind="image", stats=EngineStats(parked="host", host_bytes=2 * GIB)),
        a_model("sing", kind="audio", stats=EngineStats(parked="GPU 3")),
    ]
    assert run_cli("ps", api=Canned(a_snapshot(*models))).stdout == golden("""
        NAME   KIND   STATE   GPU  WEIGHTS       KV  BORROWED  QUEUE        RSS  NOTE
        chat   llm    ready     0  2.0 GiB  3.0 GiB   4.0 GiB  0/256  512.0 MiB  ready for 1m 05s
        paint  image  parked    0        -        -         -  0/256  512.0 MiB  ready for 1m 05s; parked in host memory, wakes with its next prompt
        sing   audio  parked    0        -        -         -  0/256  512.0 MiB  ready for 1m 05s; parked on GPU 3, wakes with its next prompt
    """)  # noqa: E501 -- a table is not broken


def test_gpus(api: Canned) -> None:
    result = run_cli("gpus", api=api)
    assert result.stdout == golden("""
        GPU  NAME            TOTAL  WEIGHTS       KV  WORK  LENT    OTHER     FREE  BORROWED  MODELS  NOTE
          0  Emulated GPU  8.0 GiB  2.0 GiB  1.0 GiB     -     -  1.0 GiB  4.0 GiB         -  chat
          1  Emulated GPU  8.0 GiB  2.0 GiB  1.0 GiB     -     -  1.0 GiB  4.0 GiB         -  -
    """)
    assert "EMULATED" in result.stderr


def test_gpus_show_what_is_lent_and_what_is_lost() -> None:
    busy = a_gpu(0, free_bytes=0, work_bytes=GIB, lent_bytes=3 * GIB, borrowed_bytes=5 * GIB, name="显卡\x1b[31m\n")
    lost = a_gpu(1, models=[], lost="Xid 79:\nfallen off the bus")
    result = run_cli("gpus", api=Canned(a_snapshot(gpus=[busy, lost], driver="cuda")))
    assert result.stdout == golden("""
        GPU  NAME            TOTAL  WEIGHTS       KV     WORK     LENT    OTHER     FREE  BORROWED  MODELS  NOTE
          0  显卡 [31m       8.0 GiB  2.0 GiB  1.0 GiB  1.0 GiB  3.0 GiB  1.0 GiB      0 B   5.0 GiB  chat
          1  Emulated GPU  8.0 GiB  2.0 GiB  1.0 GiB        -        -  1.0 GiB  4.0 GiB         -  -       LOST: Xid 79: fallen off the bus
    """)  # noqa: E501 -- a table is not broken
    assert result.stderr == ""


def test_queue(api: Canned) -> None:
    assert run_cli("queue", api=api).stdout == golden("""
        ID  MODEL      TENANT  STATE      AGE  DONE  SERVICE  LINE  NEXT
        a1  chat       web     running  1.5 s    20        -     -   now
        b2  org/paint  web     waiting  1.5 s  0/20        -     -     -
    """)
    assert run_cli("queue", "-q", api=api).stdout == "a1\nb2\n"
    assert run_cli("queue", "-q", "chat", api=api).stdout == "a1\n"


def test_queue_shows_how_prompts_stand_and_fits_a_terminal() -> None:
    suspended = PromptState.SUSPENDED
    prompts = [
        a_prompt("90b1c2d3e4f5", service_s=1.9, position=0, next_slice_s=0.0),
        a_prompt("3f2a9c01d77e", state=suspended, place="GPU 3", service_s=1.2, position=1, next_slice_s=0.3),
        a_prompt("41c0ffee0001", state=suspended, place="host", service_s=0.05, position=12, next_slice_s=4.25),
        a_prompt("41c0ffee0002", state=suspended, position=2, next_slice_s=0.0),
        a_prompt("41c0ffee0003", state=PromptState.WAITING, output_tokens=0, position=130, next_slice_s=75.0),
        a_prompt("41c0ffee0004", state=PromptState.PREFILLING, output_tokens=0),
    ]
    table = run_cli("queue", api=Canned(a_snapshot(a_model("chat"), prompts=prompts))).stdout
    assert table == golden("""
        ID            MODEL  TENANT  STATE             AGE  DONE  SERVICE  LINE    NEXT
        90b1c2d3e4f5  chat   web     running         1.5 s    20    1.9 s     -     now
        3f2a9c01d77e  chat   web     paged to GPU 3  1.5 s    20    1.2 s     1  300 ms
        41c0ffee0001  chat   web     paged to host   1.5 s    20    50 ms    12   4.2 s
        41c0ffee0002  chat   web     suspended       1.5 s    20        -     2    soon
        41c0ffee0003  chat   web     waiting         1.5 s     0        -   130  1m 15s
        41c0ffee0004  chat   web     prefilling      1.5 s     0        -     -     now
    """)
    assert max(map(len, table.splitlines())) <= 80


def test_status(api: Canned) -> None:
    lines = run_cli("status", api=api).stdout.splitlines()
    assert lines[0] == "aquahost 0.1.0  pid 4242, up 3m 05s, /nonexistent/socket"
    assert lines[1].startswith("EMULATED")
    assert lines[2] == "2 live prompts, 2 of them running; no leases"
    assert lines[4] == "GPU  NAME          MEMORY                       USED    TOTAL  MODELS  NOTE"
    assert lines[5] == "  0  Emulated GPU  ██████▓▓▓╳╳╳············  4.0 GiB  8.0 GiB  chat"
    assert lines[7] == "█ weights  ▓ kv  ▆ work  ▒ lent  ╳ other  · free"
    assert lines[9:] == run_cli("ps", api=api).stdout.splitlines()


def test_status_shouts_when_draining_and_is_calm_about_real_gpus() -> None:
    text = run_cli("status", api=Canned(a_snapshot(driver="cuda", draining=True))).stdout
    assert "DRAINING" in text
    assert "driver cuda" in text
    assert "EMULATED" not in text


def test_what_is_lost_is_red() -> None:
    assert (lost_cell(a_gpu(lost="x")).colour, index_cell(a_gpu(lost="x")).colour) == (RED, RED)
    assert (lost_cell(a_gpu()).text, index_cell(a_gpu()).colour) == ("", "")


def test_status_shows_what_is_lent() -> None:
    gpus = [a_gpu(0, lost="gone"), a_gpu(1, lent_bytes=2 * GIB, work_bytes=GIB, free_bytes=GIB)]
    leases = [a_lease(1, nbytes=GIB), a_lease(2, nbytes=GIB)]
    lines = run_cli("status", api=Canned(a_snapshot(gpus=gpus, leases=leases))).stdout.splitlines()
    assert lines[2] == "0 live prompts, 0 of them running; 2 leases, 2.0 GiB lent"
    assert lines[5].endswith("LOST: gone")
    assert "██████▓▓▓▆▆▆▒▒▒▒▒▒╳╳╳···" in lines[6]


def test_a_bar_never_hides_what_is_there_nor_overflows() -> None:
    tiny = a_gpu(weights_bytes=1, kv_bytes=1, work_bytes=1, lent_bytes=1, other_bytes=1, free_bytes=8 * GIB - 5)
    full = a_gpu(weights_bytes=8 * GIB, kv_bytes=1, other_bytes=1, free_bytes=0)
    assert memory_bar(tiny) == "█▓▆▒╳" + "·" * 19
    assert memory_bar(full) == "█" * 24
    assert len(memory_bar(a_gpu(total_bytes=0, weights_bytes=0, kv_bytes=0, other_bytes=0))) == 24


@pytest.mark.parametrize(
    ("word", "field"), [("ps", "models"), ("gpus", "gpus"), ("queue", "prompts"), ("leases", "leases")]
)
def test_json_and_yaml_hold_all_fields(word: str, field: str, api: Canned) -> None:
    whole = json.loads(run_cli("status", "-o", "json", api=api).stdout)
    assert set(whole) == set(Snapshot.__struct_fields__)
    assert json.loads(run_cli(word, "-o", "json", api=api).stdout) == whole[field]
    assert yaml.safe_load(run_cli(word, "-o", "yaml", api=api).stdout) == whole[field]


def test_ps_of_some_models(api: Canned) -> None:
    assert run_cli("ps", "-q", "idle", "chat", api=api).stdout == "idle\nchat\n"
    missing = run_cli("ps", "caht", api=api)
    assert missing.exit_code == 4
    assert missing.stderr == "aquahost: no model is named caht; did you mean chat?\n"


def test_no_escape_reaches_a_pipe(api: Canned) -> None:
    for word in ("ps", "gpus", "leases", "queue", "status"):
        assert "\x1b" not in run_cli(word, api=api).stdout


def test_events(api: Canned) -> None:
    happened = [
        {"seq": seq, "at": "2026-01-01T00:00:00Z", "kind": "model.ready", "message": f"m{seq} is\tready"}
        for seq in (1, 2, 3)
    ]
    known = Canned(a_snapshot(last_event_seq=2), **{"GET /control/events?after=0": sse(*happened)})
    assert run_cli("events", api=known).stdout == golden("""
        AT                    KIND         MESSAGE
        2026-01-01T00:00:00Z  model.ready  m1 is ready
        2026-01-01T00:00:00Z  model.ready  m2 is ready
    """)
    assert len(run_cli("events", "-f", api=known).stdout.splitlines()) == 3
    lines = run_cli("events", "-f", "-o", "json", api=known).stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]


def test_cancel_goes_on_after_an_unknown_id() -> None:
    api = Canned(a_snapshot(), **{"POST /control/prompts/b/cancel": error(404, "no live prompt 'b'")})
    result = run_cli("cancel", "a", "b", "c", api=api)
    assert result.exit_code == 4
    assert result.stdout == "a\nc\n"
    assert result.stderr == "aquahost: no live prompt 'b'\n"
