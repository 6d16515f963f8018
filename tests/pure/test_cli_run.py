"""`aquahost run`: what is asked of the API, what is written where."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from aquahost.file_names import free_name, numbered
from aquahost.messages.snapshot import ModelState
from aquahost.messages.wire import LoadProgress
from cli_harness import Canned, a_model, a_snapshot, chat_reply, error, run_cli, sse

CHAT, PLAIN = "POST /v1/chat/completions", "POST /v1/completions"
IMAGE, AUDIO = "POST /v1/images/generations", "POST /v1/audio/speech"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def chat_api(*pieces: str) -> Canned:
    plain = sse(*({"choices": [{"text": piece}]} for piece in pieces), done=True)
    return Canned(a_snapshot(a_model()), **{CHAT: chat_reply(*pieces), PLAIN: plain})


def image_api(*files: bytes) -> Canned:
    steps = [{"type": "image_generation.progress", "step": step, "steps": 2} for step in (1, 2)]
    done = [{"type": "image_generation.completed", "b64_json": encoded(file)} for file in files]
    return Canned(a_snapshot(a_model("paint", kind="image")), **{IMAGE: sse(*steps, *done)})


def audio_api() -> Canned:
    events = [
        {"type": "speech.audio.progress", "step": 1, "steps": 2},
        {"type": "speech.audio.delta", "audio": encoded(b"RI")},
        {"type": "speech.audio.delta", "audio": encoded(b"FF")},
        {"type": "speech.audio.done"},
    ]
    return Canned(a_snapshot(a_model("sing", kind="audio")), **{AUDIO: sse(*events)})


def test_text_goes_to_stdout_and_ends_with_a_line_break() -> None:
    api = chat_api("Hello", ", ", "wörld")
    result = run_cli("run", "chat", "Hi", api=api)
    assert result.stdout == "Hello, wörld\n"
    assert result.stderr == ""
    assert api.bodies == [
        {
            "model": "chat",
            "messages": [{"role": "user", "content": "Hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_text_options_become_fields() -> None:
    api = chat_api("x")
    flags = [
        "--system",
        "Be-brief",
        "--max-tokens",
        "5",
        "--temperature",
        "0",
        "--top-p",
        "0.5",
        "--seed",
        "7",
        "--stop",
        "a",
        "--stop",
        "b",
        "--stats",
    ]
    result = run_cli("run", "chat", "Hi", *flags, api=api)
    body = api.bodies[0]
    assert body["messages"][0] == {"role": "system", "content": "Be-brief"}
    fields = {"max_tokens": 5, "temperature": 0, "top_p": 0.5, "seed": 7, "stop": ["a", "b"]}
    assert {key: body[key] for key in fields} == fields
    assert "stats" not in body
    assert "3 tokens in, 1 out (stop)" in result.stderr


def test_raw_continues_the_prompt() -> None:
    api = chat_api("b", "c")
    assert run_cli("run", "chat", "a", "--raw", api=api).stdout == "bc\n"
    assert api.asked == [PLAIN]
    assert api.bodies[0]["prompt"] == "a"


@pytest.mark.parametrize("words", [(), ("-",)])
def test_the_prompt_may_come_from_stdin(words: tuple[str, ...]) -> None:
    api = chat_api("x")
    assert run_cli("run", "chat", *words, api=api, stdin="from\nstdin ü").exit_code == 0
    assert api.bodies[0]["messages"] == [{"role": "user", "content": "from\nstdin ü"}]


@pytest.mark.parametrize("stdin", [b"", b" \n", b"\xff\xfe"])
def test_stdin_that_is_no_prompt_is_refused(stdin: bytes) -> None:
    api = chat_api("x")
    assert run_cli("run", "chat", api=api, stdin=stdin).exit_code == 2
    assert api.asked == []


def test_text_may_be_saved_exactly(folder: Path) -> None:
    result = run_cli("run", "chat", "Hi", "-o", "reply.txt", api=chat_api("a", "b"))
    assert result.stdout == ""
    assert (folder / "reply.txt").read_text() == "ab"


@pytest.mark.parametrize(
    "answer", [error(400, "too long"), sse({"error": {"message": "worker died", "type": "server_error"}})]
)
def test_a_file_is_left_alone_when_no_reply_comes(answer: httpx.Response, folder: Path) -> None:
    (folder / "notes.txt").write_text("precious")
    result = run_cli("run", "chat", "Hi", "-o", "notes.txt", api=Canned(a_snapshot(a_model()), **{CHAT: answer}))
    assert result.exit_code == 1
    assert (folder / "notes.txt").read_text() == "precious"


def test_an_empty_reply_is_an_empty_file(folder: Path) -> None:
    assert run_cli("run", "chat", "Hi", "-o", "reply.txt", api=chat_api()).exit_code == 0
    assert (folder / "reply.txt").read_text() == ""


@pytest.mark.parametrize(("name", "kind"), [("chat", "llm"), ("paint", "image")])
@pytest.mark.parametrize("target", ["nowhere/x.png", "folder.png"])
def test_a_file_that_cannot_be_is_refused_before_a_model_is_loaded(
    target: str, name: str, kind: str, folder: Path
) -> None:
    (folder / "folder.png").mkdir()
    api = Canned(a_snapshot(a_model(name, ModelState.UNLOADED, kind=kind)), a_snapshot(a_model(name, kind=kind)))
    assert run_cli("run", name, "x", "-o", target, api=api).exit_code == 2
    assert api.asked == []


def test_an_image_is_saved_under_a_name_from_its_prompt(folder: Path) -> None:
    for name in ("a-red-house-by-the-sea.png", "a-red-house-by-the-sea-2.png"):
        result = run_cli("run", "paint", "A red house, by the sea!", api=image_api(b"\x89PNG"))
        assert result.stdout == f"{name}\n"
        assert (folder / name).read_bytes() == b"\x89PNG"


def test_image_options_become_fields_and_the_suffix_the_format(folder: Path) -> None:
    api = image_api(b"one", b"two")
    flags = [
        "--steps",
        "4",
        "--guidance",
        "2.5",
        "--negative",
        "fog",
        "--size",
        "64x32",
        "-n",
        "2",
        "--seed",
        "1",
        "-o",
        "house.JPG",
    ]
    result = run_cli("run", "paint", "a house", *flags, api=api)
    assert result.stdout == "house.JPG\nhouse-2.JPG\n"
    assert (folder / "house-2.JPG").read_bytes() == b"two"
    assert api.bodies[0] == {
        "model": "paint",
        "prompt": "a house",
        "stream": True,
        "response_format": "b64_json",
        "output_format": "jpeg",
        "steps": 4,
        "guidance": 2.5,
        "negative_prompt": "fog",
        "size": "64x32",
        "n": 2,
        "seed": 1,
    }


def test_a_sound_is_put_together_and_saved(folder: Path) -> None:
    api = audio_api()
    result = run_cli("run", "sing", "la la", "--duration", "1500ms", "-o", "song.flac", api=api)
    assert result.stdout == "song.flac\n"
    assert (folder / "song.flac").read_bytes() == b"RIFF"
    assert api.bodies[0]["duration"] == 1.5
    assert api.bodies[0]["response_format"] == "flac"


def test_bytes_may_go_to_stdout() -> None:
    assert run_cli("run", "paint", "x", "-o", "-", api=image_api(b"\x00\xff")).stdout_bytes == b"\x00\xff"
    assert run_cli("run", "sing", "x", "-o", "-", api=audio_api()).stdout_bytes == b"RIFF"


@pytest.mark.parametrize("target", ["house.gif", "house", "nowhere/house.png", "folder.png"])
def test_a_file_that_cannot_be_is_refused_before_anything_is_asked(target: str, folder: Path) -> None:
    (folder / "folder.png").mkdir()
    api = image_api(b"x")
    assert run_cli("run", "paint", "x", "-o", target, api=api).exit_code == 2
    assert api.asked == []


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (("--steps", "3"), "is for models of kind image or audio; chat is llm"),
        (("--size", "8x8"), "is for models of kind image; chat is llm"),
        (("--duration", "3s"), "is for models of kind audio; chat is llm"),
    ],
)
def test_options_of_another_kind_are_refused(flag: tuple[str, str], message: str) -> None:
    result = run_cli("run", "chat", "Hi", *flag, api=chat_api("x"))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_model_that_is_not_loaded_is_loaded_with_progress_on_stderr() -> None:
    loading = [
        a_model(state=ModelState.LOADING, load=LoadProgress("loading weights", done, 4 << 30))
        for done in (0, 1 << 30, (1 << 30) + 1, 4 << 30)
    ]
    views = [a_model(state=ModelState.UNLOADED), *loading, a_model()]
    api = Canned(*map(a_snapshot, views), **{CHAT: chat_reply("Hi")})
    result = run_cli("run", "chat", "Hi", api=api)
    assert result.stdout == "Hi\n"
    assert api.asked == ["POST /control/models/chat/load", CHAT]
    assert result.stderr.splitlines() == [
        "chat: loading weights, 0 B of 4.0 GiB",
        "chat: loading weights, 1.0 GiB of 4.0 GiB",
        "chat: loading weights, 4.0 GiB of 4.0 GiB",
        "chat: ready (2.0 GiB of weights, GPU 0)",
    ]


def test_names_of_files(folder: Path) -> None:
    assert free_name("Ein Haus, rot & grün", "png", folder) == Path("ein-haus-rot-grün.png")
    assert free_name("...", "wav", folder) == Path("reply.wav")
    assert free_name("../../etc/passwd", "png", folder) == Path("etc-passwd.png")
    assert len(free_name("ü" * 500, "png", folder).stem.encode()) == 40
    assert [numbered(Path("a/b.c.png"), n) for n in (1, 2)] == [Path("a/b.c.png"), Path("a/b.c-2.png")]
