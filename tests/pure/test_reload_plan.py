"""What a changed models.yaml asks for: every difference once, each with what becomes of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from aquahost.config.settings import Settings
from aquahost.daemon.reload_plan import ReloadPlan, needs_new_worker, plan_reload
from aquahost.messages.reloaded import Effect

SMALL = st.integers(1, 3)
ENTRIES = st.fixed_dictionaries(
    {"kind": st.just("llm"), "source": st.sampled_from(["a/b", "c/d"])},
    optional={
        "max_queue": SMALL,
        "pin": st.booleans(),
        "autoload": st.booleans(),
        "kv_bytes": SMALL,
        "gpu": st.sampled_from(["auto", 0, 1]),
        "traffic": st.fixed_dictionaries({"rate_per_s": SMALL}),
    },
)
NAMES = st.sampled_from(["chat", "org/chat", "v1.5"])
TENANTS = st.fixed_dictionaries({"key": st.sampled_from(["secret-one", "secret-two"])}, optional={"weight": SMALL})
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "host": st.fixed_dictionaries(
            {}, optional={"port": SMALL, "drain_s": SMALL, "emulated": st.fixed_dictionaries({"gpus": SMALL})}
        ),
        "scheduler": st.fixed_dictionaries({}, optional={"max_batch": SMALL}),
        "leasing": st.fixed_dictionaries({}, optional={"enabled": st.booleans()}),
        "tenants": st.dictionaries(NAMES, TENANTS, max_size=2),
        "models": st.dictionaries(NAMES, ENTRIES, max_size=3),
    },
).map(Settings.model_validate)
LOADED = st.sets(NAMES)


def plan(before: dict[str, Any], after: dict[str, Any], *loaded: str) -> ReloadPlan:
    return plan_reload(Settings.model_validate(before), Settings.model_validate(after), loaded)


def effects(made: ReloadPlan) -> dict[str, tuple[str, Effect]]:
    return {change.key: (change.change, change.effect) for change in made.changes}


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {key: leaf for name, inner in value.items() for key, leaf in leaves(inner, (*path, name)).items()}


@hypothesis_settings(deadline=None)
@given(SETTINGS, LOADED)
def test_what_has_not_changed_is_not_told(settings: Settings, loaded: set[str]) -> None:
    made = plan_reload(settings, settings, loaded)
    assert made.changes == []
    assert made.settings == settings


@hypothesis_settings(deadline=None)
@given(SETTINGS, SETTINGS, LOADED)
def test_what_holds_is_what_was_read_but_for_what_needs_a_restart(
    before: Settings, after: Settings, loaded: set[str]
) -> None:
    made = plan_reload(before, after, loaded)
    assert made.settings.models == after.models
    assert set(made.settings.tenants) == set(after.tenants)
    left = plan_reload(made.settings, after, loaded).changes
    assert all(change.effect is Effect.RESTART for change in left)
    assert left == [change for change in made.changes if change.effect is Effect.RESTART]
    done = plan_reload(before, made.settings, loaded).changes
    assert done == [change for change in made.changes if change.effect is not Effect.RESTART]


@hypothesis_settings(deadline=None)
@given(SETTINGS, SETTINGS, LOADED)
def test_every_difference_is_told_once(before: Settings, after: Settings, loaded: set[str]) -> None:
    changes = plan_reload(before, after, loaded).changes
    keys = [change.key for change in changes]
    assert len(keys) == len(set(keys))
    old, new = leaves(before.model_dump(mode="json")), leaves(after.model_dump(mode="json"))
    differ = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    whole = {
        (section, name)
        for section, was, now in (("models", before.models, after.models), ("tenants", before.tenants, after.tenants))
        for name in was.keys() ^ now.keys()
    }
    assert len(changes) == len(whole) + len({path for path in differ if path[:2] not in whole})


@hypothesis_settings(deadline=None)
@given(SETTINGS, SETTINGS, LOADED)
def test_a_worker_is_begun_anew_exactly_where_its_entry_asks_for_it(
    before: Settings, after: Settings, loaded: set[str]
) -> None:
    told = plan_reload(before, after, loaded).changes
    for name in before.models.keys() & after.models.keys():
        head = f'models."{name}".' if "." in name else f"models.{name}."
        mine = [change.effect for change in told if change.key.startswith(head)]
        anew = needs_new_worker(before.models[name], after.models[name])
        assert (Effect.LOADS_ANEW in mine) == (anew and name in loaded)


@hypothesis_settings(deadline=None)
@given(SETTINGS, SETTINGS, LOADED)
def test_no_key_is_ever_shown(before: Settings, after: Settings, loaded: set[str]) -> None:
    assert "secret" not in repr(plan_reload(before, after, loaded).changes)


def test_models_come_go_and_change() -> None:
    before = {
        "models": {
            "stays": {"kind": "llm", "source": "a"},
            "tuned": {"kind": "llm", "source": "a", "max_queue": 1},
            "moved": {"kind": "llm", "source": "a"},
            "cold": {"kind": "llm", "source": "a", "autoload": False},
            "woken": {"kind": "llm", "source": "a", "autoload": False},
            "old": {"kind": "toy"},
            "old-cold": {"kind": "toy", "autoload": False},
        }
    }
    after = {
        "models": {
            "stays": {"kind": "llm", "source": "a"},
            "tuned": {"kind": "llm", "source": "a", "max_queue": 2, "pin": True},
            "moved": {"kind": "llm", "source": "b", "max_queue": 9},
            "cold": {"kind": "llm", "source": "b", "autoload": False},
            "woken": {"kind": "llm", "source": "a"},
            "new": {"kind": "toy"},
            "new-cold": {"kind": "toy", "autoload": False},
        }
    }
    assert effects(plan(before, after, "stays", "tuned", "moved", "old")) == {
        "models.tuned.max_queue": ("1 → 2", Effect.AT_ONCE),
        "models.tuned.pin": ("false → true", Effect.AT_ONCE),
        "models.moved.source": ("a → b", Effect.LOADS_ANEW),
        "models.moved.max_queue": ("256 → 9", Effect.AT_ONCE),
        "models.cold.source": ("a → b", Effect.NOT_LOADED),
        "models.woken.autoload": ("false → true", Effect.LOADS),
        "models.new": ("added", Effect.LOADS),
        "models.new-cold": ("added", Effect.NOT_LOADED),
        "models.old": ("removed", Effect.UNLOADS),
        "models.old-cold": ("removed", Effect.AT_ONCE),
    }


def test_host_tenants_and_what_needs_a_restart() -> None:
    before = {"tenants": {"red": {"key": "red-secret"}, "blue": {"key": "blue-secret"}}}
    after = {
        "host": {"port": 9000, "drain_s": "1m", "admin_key": "admin-secret", "emulated": {"gpus": 2}},
        "scheduler": {"policy": "fcfs"},
        "leasing": {"park_after_s": None},
        "tenants": {"red": {"key": "another-secret", "weight": 3}, "green": {"key": "green-secret"}},
    }
    made = plan(before, after)
    assert effects(made) == {
        "host.port": ("8712 → 9000", Effect.RESTART),
        "host.emulated.gpus": ("8 → 2", Effect.RESTART),
        "host.drain_s": ("30.0 → 60.0", Effect.AT_ONCE),
        "host.admin_key": ("changed", Effect.AT_ONCE),
        "scheduler.policy": ("fair → fcfs", Effect.RESTART),
        "leasing.park_after_s": ("300.0 → none", Effect.RESTART),
        "tenants.red.key": ("changed", Effect.AT_ONCE),
        "tenants.red.weight": ("1.0 → 3.0", Effect.AT_ONCE),
        "tenants.green": ("added", Effect.AT_ONCE),
        "tenants.blue": ("removed", Effect.AT_ONCE),
    }
    assert made.settings.host.port == 8712
    assert made.settings.host.drain_s == 60
    assert made.settings.scheduler == Settings().scheduler


def test_a_long_value_is_cut() -> None:
    made = plan(
        {"models": {"a": {"kind": "llm", "source": "s"}}}, {"models": {"a": {"kind": "llm", "source": "x" * 99}}}
    )
    (change,) = made.changes
    assert change.change.endswith("x…")
    assert len(change.change) < 60
