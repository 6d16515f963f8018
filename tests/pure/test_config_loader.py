"""models.yaml, variables and flags become settings, or a line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquahost.config.loader import Override, load, load_settings
from aquahost.errors import ConfigError

TOY = "models:\n  toy: {kind: toy}\n"
TENANT_OF = "tenants: {a: {key: hunter22, models: %s}}\nmodels: {toy: {kind: toy}}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("models.yaml")


def mistakes_in(text: str, file: Path, env: dict[str, str] | None = None) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, env or {})
    return str(caught.value).splitlines()


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "# nothing yet\n", "---\n"])
def test_an_empty_file_may_have_been_cut_off_and_is_refused(file: Path, text: str) -> None:
    assert mistakes_in(text, file) == [f"{file}: is empty; a host without models says so with: models: {{}}"]


@pytest.mark.parametrize("text", ["models: {}", "models:\n", "host:\n"])
def test_a_file_without_settings_is_all_defaults(file: Path, text: str) -> None:
    file.write_text(text)
    settings = load_settings(file, {})
    assert settings.host.port == 8712
    assert settings.models == {}


def test_sizes_times_and_empty_sections(file: Path) -> None:
    file.write_text("host:\n  max_body_bytes: 2MiB\n  step_timeout_s: 5m\n  emulated:\nscheduler:\ntenants:\n" + TOY)
    settings = load_settings(file, {})
    assert settings.host.max_body_bytes == 2 << 20
    assert settings.host.step_timeout_s == 300.0
    assert list(settings.models) == ["toy"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("host:\n  prot: 1", "2: host.prot: unknown key; did you mean port?"),
        ("host: {max-body-bytes: 1}", "1: host.max-body-bytes: unknown key; did you mean max_body_bytes?"),
        ("port: 1", "1: port: unknown key here; it belongs to host.port"),
        ("scheduler: {qqq: 1}", "1: scheduler.qqq: unknown key; allowed are policy, paging_budget,"),
        ("host: {port: 70000}", "1: host.port: 70000 is not allowed; a whole number from 0 to 65535"),
        ("host: {port: '80'}", '1: host.port: "80" is not allowed; a whole number from 0 to 65535'),
        ("host: {port: true}", "1: host.port: true is not allowed; a whole number from 0 to 65535"),
        ("host: {port: 1.5}", "1: host.port: 1.5 is not allowed; a whole number from 0 to 65535"),
        ("host: {port: .nan}", "1: host.port: NaN is not allowed; a whole number from 0 to 65535"),
        ("host: {port: }", "1: host.port: nothing is not allowed; a whole number from 0 to 65535"),
        ("host: {driver: cudda}", '1: host.driver: "cudda" is not allowed; one of auto, cuda, emulated'),
        ("host: 5", "1: host: needs keys with values: driver, emulated, partition, listen, "),
        ("tenants: [a]", "1: tenants: needs names, each with its settings"),
        (
            "host: {max_body_bytes: 8 Megs}",
            '1: host.max_body_bytes: "8 Megs" is not allowed; a size like 80GiB or 512MiB, or a number of ',
        ),
        ("host: {max_body_bytes: -1}", "1: host.max_body_bytes: -1 is not allowed; a size like 80GiB"),
        ("host: {max_body_bytes: [1]}", "1: host.max_body_bytes: [1] is not allowed; a size like 80GiB"),
        (
            f"host: {{max_body_bytes: {'9' * 39}TiB}}",
            '1: host.max_body_bytes: "999999999999999999999999999999999999999TiB" is not allowed; a size',
        ),
        (
            "host: {step_timeout_s: soon}",
            '1: host.step_timeout_s: "soon" is not allowed; a length of time like 30s, 500ms or 5m',
        ),
        ("host: {step_timeout_s: .inf}", "1: host.step_timeout_s: Infinity is not allowed; a length of time"),
        ("tenants: {a: {key: 12345678}}", "1: tenants.a.key: the value given is not allowed; text of at least"),
        ("tenants: {a: {key: secrets!, quota: 2}}", "1: tenants.a.quota: unknown key; allowed are key, weight"),
        (
            "host: {emulated: {peer_bytes_per_s: 0}}",
            "1: host.emulated.peer_bytes_per_s: 0 is not allowed; a number above 0",
        ),
        (
            "models:\n  a: {kind: image, source: x,\n    kv_bytes: 1GiB}",
            "3: models.a.kv_bytes: is for models of kind llm; this one is image",
        ),
        ("models: {a: {kind: image, source: x, max_context: 9}}", "1: models.a.max_context: is for models of kind llm"),
        ("models: {a: {kind: llm, source: x, steps: 5}}", "1: models.a.steps: is for models of kind image or audio"),
        ("models: {a: {kind: llm, source: x, steps: 500}}", "1: models.a.steps: is for models of kind image or audio"),
        ("models: {a: {kind: llm, source: x, toy: }}", "1: models.a.toy: is for models of kind toy; this one is llm"),
        ("models: {a: {kind: toy, source: x}}", "1: models.a.source: is for models of kind llm, image or audio; "),
        ("x-b: &b {max_queue: 1,\n  kv_bytes: 1}\nmodels: {a: {<<: *b, kind: toy}}", "2: models.a.kv_bytes: is for"),
        (
            "models: {a: {kind: image, source: x, steps: 201}}",
            "1: models.a.steps: 201 is above max_steps, which is 200; lower it or raise max_steps",
        ),
        (
            "models: {a: {kind: audio, source: x, steps: 9, max_steps: 8}}",
            "1: models.a.steps: 9 is above max_steps, which is 8; lower it or raise max_steps",
        ),
        (
            "models: {a: {kind: image, source: x, size_px: 1024, max_size_px: 512}}",
            "1: models.a.size_px: 1024 is above max_size_px, which is 512; lower it or raise max_size_px",
        ),
        *(
            (f"host: {{listen: {text}}}", f'1: host.listen: "{text}" is not allowed; an IPv4 address or an IPv6')
            for text in ("not a host!", "256.0.0.1", "1.2.3.4.5", "-a", "a-", "a..b", "http://x", "1.2.3.4:80")
        ),
        ('host: {listen: "[::1]"}', '1: host.listen: "[::1]" is not allowed; an IPv4 address or an IPv6 address or'),
        ("host: {listen: ''}", '1: host.listen: "" is not allowed; an IPv4 address or an IPv6 address or a host name'),
        (f"host: {{listen: {'a' * 64}}}", '1: host.listen: "aaaa'),
        ("models: {a: {kind: llm}}", "1: models.a: source is missing: a hub id (org/name) or a folder"),
        ("models: {a: {source: x}}", "1: models.a.kind: missing; one of llm, image, audio, toy"),
        ("models:\n  a:", "2: models.a.kind: missing; one of llm, image, audio, toy"),
        ("models: {a: {kind: toy, gpu: -1}}", "1: models.a.gpu: -1 is not allowed; auto or a whole number, 0 or"),
        ("models: {a: {kind: toy, autoload: yes}}", '1: models.a.autoload: "yes" is not allowed; true or false'),
        ("models: {a: {kind: toy, gpu: 8}}\nhost: {driver: emulated}", "1: models.a.gpu: GPU 8 does not exist; "),
        (
            "host: {driver: emulated, partition: 4}",
            "1: host.partition: is for real GPUs; host.emulated.gpus says how many the emulated driver shows",
        ),
        ("host: {partition: 0}", "1: host.partition: 0 is not allowed; a whole number from 1 to 64"),
        ("host: {partition: 65}", "1: host.partition: 65 is not allowed; a whole number from 1 to 64"),
        (
            "host: {driver: emulated}\nleasing: {headroom_bytes: 1GiB}",
            "2: leasing.headroom_bytes: leaves nothing to lend of GPUs of 1.0 GiB; lower it, or set leasing.enabled",
        ),
        ("leasing: {headroom_bytes: 2EiB}", '1: leasing.headroom_bytes: "2EiB" is not allowed; a size like'),
        ("leasing: {recall_deadline_s: 0}", "1: leasing.recall_deadline_s: 0 is not allowed; a length of time"),
        ("leasing: {park_after_s: never}", '1: leasing.park_after_s: "never" is not allowed; a length of time'),
        ("leasing: {park_after: 1m}", "1: leasing.park_after: unknown key; did you mean park_after_s?"),
        ("models: {a: {kind: toy, gpus: 1}}", "1: models.a.gpus: unknown key; did you mean gpu?"),
        ("leasing: {borrow_bytes: 1}", "1: leasing.borrow_bytes: unknown key here; it belongs to models.NAME.borrow"),
        ("models: {a: {kind: image, source: x, borrow_bytes: 1}}", "1: models.a.borrow_bytes: is for models of kind"),
        ("models: {a: {kind: toy, pin: true}}", "1: models.a.pin: is for models of kind llm, image or audio; this"),
        ("models: {a b: {kind: toy}}", "1: models.a b: not a name; letters, digits and . _ - : / are allowed"),
        ("models: {a/../b: {kind: toy}}", "1: models.\"a/../b\": not a name"),
        ("tenants: {a: {key: hunter22}, b: {key: hunter22}}", "1: tenants.b.key: the same key as tenants.a"),
        ("host: {admin_key: hunter22}\ntenants: {b: {key: hunter22}}", "2: tenants.b.key: the same key as host."),
        ("host: {tls_key: a.pem}", "1: host.tls_key: is the key of a certificate; name that, too, as host.tls_cert"),
        ("tenants: {default: {key: hunter22}}", "1: tenants.default: is the name of whoever asks over the"),
        (TENANT_OF % "[toi]", "1: tenants.a.models: no model is named toi; did you mean toy?"),
        (TENANT_OF % "[zebra]", "1: tenants.a.models: no model is named zebra; there are: toy"),
        (TENANT_OF % "toy", '1: tenants.a.models: "toy" is not allowed; a list of names, like [chat, paint]'),
        (TENANT_OF % "[../x]", "1: tenants.a.models: "),
        ("- a", " needs keys with values: host, scheduler, leasing, jobs, tenants, models"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_and_what_is_allowed(text: str, mistake: str, file: Path) -> None:
    found = mistakes_in(text, file)
    assert len(found) == 1
    assert found[0].removeprefix("models.yaml:").startswith(mistake)


def test_several_mistakes_come_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = "host:\n  prot: 1\n  port: x\nmodels:\n  a: {kind: toy}\n  a: {kind: toy}\n  b: {kind: tou}\n"
    assert [line.split(" ")[0] for line in mistakes_in(text, file)] == [
        "models.yaml:2:",
        "models.yaml:3:",
        "models.yaml:6:",
        "models.yaml:7:",
    ]


def test_secrets_are_never_part_of_a_message(file: Path) -> None:
    text = "host: {admin_key: hunter2}\ntenants: {a: {key: hunter2}}\n"
    assert "hunter2" not in "\n".join(mistakes_in(text, file))


def test_anchors_have_a_place_of_their_own(file: Path) -> None:
    file.write_text("x-base: &base {kind: toy, max_queue: 3}\nmodels:\n  a: {<<: *base, max_queue: 4}\n  b: *base\n")
    loaded = load(file, {})
    assert [model.max_queue for model in loaded.settings.models.values()] == [4, 3]
    assert loaded.origin(("models", "a", "kind")) == "models.yaml:1"
    assert loaded.origin(("models", "a", "max_queue")) == "models.yaml:3"


def test_flag_beats_variable_beats_file_beats_default(file: Path) -> None:
    file.write_text("host: {port: 1, listen: a}\n")
    flag = Override(flag="--port", path=("host", "port"), value=3)
    env = {"AQUAHOST_HOST__PORT": "2", "AQUAHOST_HOST__LISTEN": "b"}
    assert load_settings(file, {}).host.port == 1
    assert load_settings(file, env).host.port == 2
    loaded = load(file, env, (flag,))
    assert (loaded.settings.host.port, loaded.settings.host.listen) == (3, "b")
    assert loaded.origin(("host", "port")) == "--port"
    assert loaded.origin(("host", "listen")) == "AQUAHOST_HOST__LISTEN"
    assert loaded.origin(("host", "driver")) == "default"


@pytest.mark.parametrize("listen", ["0.0.0.0", "::", "::1", "localhost", "gpu-1.example.org", "a1"])
def test_addresses_and_host_names_can_be_listened_on(listen: str, file: Path) -> None:
    file.write_text("models:")
    assert load_settings(file, {"AQUAHOST_HOST__LISTEN": listen}).host.listen == listen


def test_limits_may_be_met(file: Path) -> None:
    entry = "{kind: image, source: x, steps: 500, max_steps: 500, size_px: 64, max_size_px: 64}"
    file.write_text(f"models: {{a: {entry}}}")
    assert load_settings(file, {}).models["a"].steps == 500


def test_variables_reach_every_scalar_of_host_and_scheduler(file: Path) -> None:
    file.write_text(TOY)
    env = {
        "AQUAHOST_HOST__EMULATED__GPUS": "2",
        "AQUAHOST_HOST__EMULATED__GPU_BYTES": "1GiB",
        "AQUAHOST_HOST__ADMIN_KEY": "12345678",
        "AQUAHOST_HOST__DRIVER": "",
        "AQUAHOST_SCHEDULER__MAX_BATCH": "7",
        "AQUAHOST_LOG_LEVEL": "DEBUG",
    }
    settings = load_settings(file, env)
    assert settings.host.emulated.gpus == 2
    assert settings.host.emulated.gpu_bytes == 1 << 30
    assert settings.host.admin_key == "12345678"
    assert settings.host.driver == "auto"
    assert settings.scheduler.max_batch == 7


@pytest.mark.parametrize(
    ("variable", "text", "mistake"),
    [
        (
            "AQUAHOST_HOST__PORT",
            "x",
            'AQUAHOST_HOST__PORT: host.port: "x" is not allowed; a whole number from 0 to 65535',
        ),
        ("AQUAHOST_HOST__PROT", "1", "AQUAHOST_HOST__PROT: unknown variable; did you mean AQUAHOST_HOST__PORT?"),
        (
            "AQUAHOST_MODELS__A__KIND",
            "toy",
            "AQUAHOST_MODELS__A__KIND: unknown variable; keys of host, scheduler and leasing can",
        ),
        ("AQUAHOST_HOST__EMULATED", "x", "AQUAHOST_HOST__EMULATED: unknown variable; "),
    ],
)
def test_mistakes_in_variables_name_the_variable(variable: str, text: str, mistake: str, file: Path) -> None:
    found = mistakes_in(TOY, file, {variable: text})
    assert len(found) == 1
    assert found[0].startswith(mistake)


def test_relative_folders_are_found_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "models.yaml"
    entries = {"a": "./m", "b": "../m", "c": "~/m", "d": "org/m", "e": "/m"}
    path.write_text("models:\n" + "".join(f"  {k}: {{kind: llm, source: {v}}}\n" for k, v in entries.items()))
    sources = [model.source for model in load_settings(path, {}).models.values()]
    assert sources == [str(tmp_path / "etc/m"), str(tmp_path / "m"), "/home/someone/m", "org/m", "/m"]


def test_files_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.yaml: no such file; `aquahost up --demo` needs none"):
        load(file, {})
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file / "below" / "x\0y", {})
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"models\.yaml:2: not UTF-8 text \(byte 0xff\)"):
        load(file, {})


@pytest.mark.parametrize(
    "text",
    [
        "host: {partition: 8}",
        "host: {driver: emulated, partition: 1}",
        "host: {driver: emulated}\nleasing: {headroom_bytes: 1GiB, enabled: false}",
        "host: {driver: emulated, emulated: {gpu_bytes: 2GiB}}\nleasing: {headroom_bytes: 1GiB}",
        "leasing: {headroom_bytes: 1TiB}",
        "leasing: {park_after_s: null}\nmodels: {a: {kind: llm, source: x, pin: true, borrow_bytes: 0}}",
    ],
)
def test_what_may_stand_together(text: str, file: Path) -> None:
    file.write_text(text)
    load(file, {})  # which would tell of mistakes


def test_leasing_from_the_environment(file: Path) -> None:
    file.write_text(TOY)
    env = {"AQUAHOST_LEASING__ENABLED": "false", "AQUAHOST_LEASING__PARK_AFTER_S": "null"}
    leasing = load(file, {**env, "AQUAHOST_LEASING__HEADROOM_BYTES": "2GiB"}).settings.leasing
    assert (leasing.enabled, leasing.park_after_s, leasing.headroom_bytes) == (False, None, 2 << 30)


def test_files_of_a_certificate_are_found_from_the_file_and_links_kept(tmp_path: Path) -> None:
    path = tmp_path / "host" / "models.yaml"
    path.parent.mkdir()
    (path.parent / "cert.pem").symlink_to("cert-of-today.pem")
    path.write_text("host: {tls_cert: cert.pem, tls_key: /etc/key.pem}\ntenants: {a: {key: hunter22, models: []}}")
    settings = load_settings(path, {})
    assert (settings.host.tls_cert, settings.host.tls_key) == (str(path.parent / "cert.pem"), "/etc/key.pem")
    assert settings.tenants["a"].models == ()
    assert load_settings(path, {"AQUAHOST_HOST__TLS_CERT": "~/x.pem"}).host.tls_cert == str(Path.home() / "x.pem")
