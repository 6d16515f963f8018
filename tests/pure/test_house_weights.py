"""Weights are data: no code of ours unpickles, and a model's own code runs only where its entry says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from aquahost.config.settings import ModelSettings

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("aquahost", "cuda", "tui") for path in (ROOT / package).rglob("*.py"))
PICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADS_WEIGHTS = {"engines", "profiler"}
"""The rooms whose `from_pretrained` may read weights of a stranger's."""
WEIGHTLESS = ("AutoConfig", "AutoTokenizer", "config_class")


def calls(path: Path, *words: str) -> Iterator[ast.Call]:
    """The calls of a file that has one of these words in it."""
    text = path.read_text()
    if any(word in text for word in words):
        yield from (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))


def keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), None)


def test_nothing_is_unpickled_or_run() -> None:
    assert len(SOURCES) > 400
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not PICKLING & {name.partition(".")[0] for name in names}
        for call in calls(path, "load", "eval", "exec", "allow_pickle", "weights_only"):
            called = ast.unparse(call.func)
            assert called not in ("torch.load", "eval", "exec", "yaml.load", "yaml.unsafe_load"), (
                f"{path}:{call.lineno}"
            )
            assert keyword(call, "allow_pickle") in (None, "False")
            assert keyword(call, "weights_only") in (None, "True")


def test_every_loading_of_weights_takes_safetensors_alone() -> None:
    seen = 0
    for path in SOURCES:
        if not LOADS_WEIGHTS & set(path.relative_to(ROOT).parts):
            continue
        for call in calls(path, "from_pretrained"):
            called = ast.unparse(call.func)
            if not called.endswith(".from_pretrained") or any(word in called for word in WEIGHTLESS):
                continue
            seen += 1
            assert keyword(call, "use_safetensors") == "True", f"{path}:{call.lineno} {called}"
            assert keyword(call, "local_files_only") == "True", f"{path}:{call.lineno} {called}"
    assert seen >= 4  # language, pipeline, its parts, MusicGen


def test_a_model_s_own_code_runs_only_where_its_entry_says_so() -> None:
    assert ModelSettings(kind="llm", source="x").trust_remote_code is False
    seen = 0
    for path in SOURCES:
        for call in calls(path, "trust_remote_code"):
            given = keyword(call, "trust_remote_code")
            if given is None:
                continue
            seen += 1
            # Its setting, or a name that a function was given it by.
            assert given in ("settings.trust_remote_code", "trust_remote_code", "trust"), f"{path}:{call.lineno}"
    assert seen >= 6
    text = (ROOT / "aquahost/profiler/language_shape.py").read_text()
    assert "trust = settings.trust_remote_code" in text
