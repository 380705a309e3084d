"""Settings: where they come from, what wins, and what a user is told of a wrong one."""

import re
import socket
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bridge.addresses import BrokerAddress, HttpAddress
from bridge.config import PROGRAMS, AgentSettings, CorrelatorSettings, default_state_dir
from bridge.correlator.store import Store
from bridge.errors import ConfigError
from bridge.mqtt.settings import BrokerSettings
from bridge.options import Declared, Loaded, declared, load, render

OPTIONS = [(program, option) for program, model in PROGRAMS.items() for option in declared(model)]
WriteToml = Callable[[str], str]


@pytest.fixture
def toml(tmp_path: Path) -> WriteToml:
    def write(text: str) -> str:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        return str(path)

    return write


def agent(
    arguments: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Loaded[AgentSettings]:
    return load(AgentSettings, "agent", arguments or {}, environ or {}, PROGRAMS)


def correlator(
    arguments: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Loaded[CorrelatorSettings]:
    return load(CorrelatorSettings, "correlator", arguments or {}, environ or {}, PROGRAMS)


def test_the_defaults_of_the_agent_are_the_contracts() -> None:
    settings = agent().settings
    assert str(settings.broker) == "mqtt://127.0.0.1:1883"
    assert settings.broker_version == "5"
    assert settings.prefix == "libvirt"
    assert settings.host == socket.gethostname().lower()
    assert settings.connect == "qemu:///system"
    assert settings.reconcile_s == 30
    assert settings.http is None
    assert settings.log_format is None
    assert settings.log_level == "info"


def test_the_defaults_of_the_correlator_are_the_contracts(tmp_path: Path) -> None:
    settings = correlator({"state_dir": str(tmp_path)}).settings
    assert settings.id == "main"
    assert settings.store_url() == f"sqlite:///{tmp_path}/correlator-main.db"
    assert settings.group is None
    assert settings.settle_s == 10
    assert settings.patience_s == 600


def test_the_state_dir_is_roots_or_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state_dir() == Path("/var/lib/libvirt-mqtt")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert default_state_dir() == Path("/x/libvirt-mqtt")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/counts/as/unset")
    monkeypatch.setenv("HOME", "/home/u")
    assert default_state_dir() == Path("/home/u/.local/state/libvirt-mqtt")


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(toml: WriteToml) -> None:
    everywhere = toml(
        'host = "top"\nprefix = "top"\nconnect = "xen:///"\nlog_level = "error"\n[agent]\nhost = "table"'
    )
    loaded = agent(
        {"config": everywhere, "prefix": "argument"},
        {"LIBVIRT_MQTT_PREFIX": "variable", "LIBVIRT_MQTT_CONNECT": "ch:///system"},
    )
    settings = loaded.settings
    assert (settings.prefix, settings.connect, settings.host) == ("argument", "ch:///system", "table")
    assert settings.log_level == "error"
    assert loaded.origins["prefix"] == "--prefix on the command line"
    assert loaded.origins["connect"] == "LIBVIRT_MQTT_CONNECT in the environment"
    assert loaded.origins["host"] == f"[agent] in {everywhere}"
    assert loaded.origins["log_level"] == everywhere
    assert loaded.origins["broker"] == "default"


def test_the_file_may_be_named_by_a_variable(toml: WriteToml) -> None:
    assert agent(environ={"LIBVIRT_MQTT_CONFIG": toml('host = "x"')}).settings.host == "x"


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert agent(environ={"LIBVIRT_MQTT_HTTP": "", "LIBVIRT_MQTT_CONFIG": ""}).settings.http is None


def test_one_file_serves_agent_and_correlator(toml: WriteToml) -> None:
    shared = toml('settle = 5\nreconcile = 7\n[correlator]\nid = "x"\n[agent]\nhttp = "[::1]:9100"')
    assert agent({"config": shared}).settings.http == HttpAddress("::1", 9100)
    assert correlator({"config": shared}).settings.settle_s == 5


def test_a_file_in_a_folder_that_cannot_be_entered_is_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Root can enter every folder, so the refusal is played."""

    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ConfigError, match=r"broker_password_file .*can't be read: Permission denied"):
        agent({"broker": "mqtt://u@h", "broker_password_file": "/closed/password"})


def test_a_version_may_be_a_number_in_the_file(toml: WriteToml) -> None:
    assert agent({"config": toml("broker_version = 5")}).settings.broker_version == "5"


@pytest.mark.parametrize(
    "uri", ["qemu+ssh://root@h:22/system?keyfile=/k%20y", "test:///default", "qemu:/system"]
)
def test_a_libvirt_uri_is_taken_as_it_is(uri: str) -> None:
    assert agent({"connect": uri}).settings.connect == uri


@pytest.mark.parametrize(
    "text", ["nonsense", "not a uri", "qemu:///a b", "qemu:///%zz", "://h", "qemu:", "old"]
)
def test_what_libvirt_can_never_connect_to_is_a_wrong_setting(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_libvirt(tmp_path, monkeypatch)
    with pytest.raises(
        ConfigError, match=r"neither a URI nor an alias in libvirt\.conf; accepted: a libvirt URI"
    ):
        agent({"connect": text})


def test_an_alias_of_libvirt_s_own_settings_is_as_good_as_a_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_libvirt(tmp_path, monkeypatch)
    assert agent({"connect": "hail"}).settings.connect == "hail"
    assert agent({"connect": "sleet_2"}).settings.connect == "sleet_2"


def configure_libvirt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "libvirt").mkdir()
    (folder / "libvirt" / "libvirt.conf").write_text(
        'uri_aliases = [\n  "hail=qemu+ssh://root@hail/system", "sleet_2=qemu+tls://sleet/system",\n'
        '# "old=qemu:///system",\n]\n#uri_default = "qemu:///system"\n'
    )
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))


def test_unknown_variables_are_named_and_do_no_harm() -> None:
    environ = {"LIBVIRT_MQTT_HSOT": "x", "LIBVIRT_MQTT_SETTLE": "nonsense, but not ours", "HOST": "x"}
    assert agent(environ=environ).unknown_variables == {"LIBVIRT_MQTT_HSOT": "LIBVIRT_MQTT_HOST"}


# For each option a value that it can't take.
WRONG = {
    "log_format": "xml",
    "log_level": "loud",
    "broker": "http://h",
    "broker_password_file": "/does/not/exist",
    "broker_ca_file": "/does/not/exist",
    "broker_cert_file": "/",
    "broker_key_file": "/does/not/exist",
    "broker_version": "4",
    "prefix": "a/+/b",
    "encode_dots": "perhaps",
    "host": "x" * 201,
    "connect": "nonsense",
    "state_dir": "",
    "reconcile": "0",
    "events": "reboot,-lifecycle",
    "http": "9100",
    "outbox_max_rows": "1.5",
    "outbox_max_bytes": "2 bananas",
    "outbox_policy": "random",
    "retain_hours": "-1",
    "retain_bytes": "a lot",
    "homeassistant": "perhaps",
    "homeassistant_prefix": "home/#",
    "id": "",
    "store": "mysql://h/d",
    "store_password_file": "/does/not/exist",
    "group": "",
    "keep_days": "0",
    "keep_bytes": "1",
    "keep": "perhaps",
    "http_password_file": "/does/not/exist",
    "http_open": "perhaps",
    "http_cert_file": "/does/not/exist",
    "http_key_file": "/does/not/exist",
    "settle": "nan",
    "patience": "0",
    "json": "perhaps",
    "only": "some",
    "run": " ",
    "on": "completed,finished",
    "hooks_dir": "",
    "domain": "web*,",
    "reason": ",",
    "timeout": "0",
    "tries": "0",
    "retry": "0",
    "parallel": "0",
    "max_age": "0",
    "parked": "perhaps",
    "again": "",
}


@pytest.mark.parametrize(("program", "option"), OPTIONS, ids=lambda part: getattr(part, "key", part))
def test_a_wrong_value_is_told_in_one_line_wherever_it_stands(
    program: str, option: Declared, toml: WriteToml
) -> None:
    wrong = WRONG[option.key]
    path = toml(f'{option.key} = "{wrong}"')
    places: list[tuple[dict[str, object], dict[str, str], str]] = [
        ({option.field: wrong}, {}, f"{option.flag} on the command line"),
        ({"config": path}, {}, path),
    ]
    if wrong:  # an empty variable counts as none
        places.append(({}, {option.variable: wrong}, f"{option.variable} in the environment"))
    for arguments, environ, origin in places:
        with pytest.raises(ConfigError) as error:
            load(PROGRAMS[program], program, arguments, environ, PROGRAMS)
        assert error.value.exit_status == 78
        line = str(error.value)
        assert line.startswith(f"{option.key} ({origin}): given '{wrong}'"), line
        assert line.endswith(f"; accepted: {option.accepts}"), line
        assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hsot = 1", "hsot ({path}): given an unknown key; accepted: host (meant?), again, broker, "),
        ("state-dir = 1", "state-dir ({path}): given an unknown key; accepted: state_dir (meant?), "),
        ("[agent]\nsettle = 1", "settle ([agent] in {path}): given an unknown key; accepted: "),
        (
            "[correlator]\nsettel = 1",
            "settel ([correlator] in {path}): given an unknown key; accepted: settle (m",
        ),
        ("[agnet]\nhost = 1", "agnet ({path}): given an unknown key; accepted: agent (meant?), correlator, "),
        ("agent = 1", "agent ({path}): given an unknown key"),
        ("host = true", "host ({path}): given true; accepted: a name"),
        ("host = [1]", "host ({path}): given [1]; accepted: a name"),
        ("reconcile = false", "reconcile ({path}): given false; accepted: seconds"),
        ("reconcile = inf", "reconcile ({path}): given inf; accepted: seconds"),
        ('host = "a\\nb"', "host ({path}): given 'a\\nb', no control characters"),
        ("host = ", "config (the settings file): given {path}: "),
    ],
)
def test_a_wrong_file_is_told_in_one_line(text: str, told: str, toml: WriteToml) -> None:
    path = toml(text)
    with pytest.raises(ConfigError, match="^" + re.escape(told.format(path=path))) as error:
        agent({"config": path})
    assert "\n" not in str(error.value)


BOUNDED = [
    (program, option, bound)
    for program, model in PROGRAMS.items()
    for option in declared(model)
    for constraint in model.model_fields[option.field].metadata
    for name in ("ge", "gt", "le", "lt")
    if (bound := getattr(constraint, name, None)) is not None
]


@pytest.mark.parametrize(("program", "option", "bound"), BOUNDED)
def test_every_bound_is_said_where_it_is_enforced(program: str, option: Declared, bound: float) -> None:
    said = option.accepts.replace("1MB", "1000000")
    assert re.search(rf"\b{bound:g}\b" if bound < 1e6 else rf"\b{int(bound)}\b", said), option.accepts


def test_there_are_bounds() -> None:
    assert len(BOUNDED) > 10


def test_units_of_bytes_are_what_is_said_of_them() -> None:
    for text, counted in (("2G", 2_000_000_000), ("2GB", 2_000_000_000), ("2GiB", 2_147_483_648)):
        assert agent({"outbox_max_bytes": text}).settings.outbox_max_bytes == counted


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("main", "correlator-main.db"),
        ("a b%ü", "correlator-a b%ü.db"),  # as 0.1.0 named it
        ("../../x", "correlator-..%2F..%2Fx.db"),
    ],
)
def test_an_id_makes_no_folders(name: str, file: str, tmp_path: Path) -> None:
    state = tmp_path / "st%41te"
    url = correlator({"id": name, "state_dir": str(state)}).settings.store_url()
    store = Store(url, owner="correlator")
    with store.begin():
        pass
    store.close()
    assert (state / file).exists()
    assert [each.name for each in tmp_path.iterdir()] == [state.name]


@pytest.mark.parametrize(
    ("prefix", "how"),
    [
        ("/opt/libvirt-mqtt", f"{sys.executable} -m pip install 'psycopg[binary]'"),
        (sys.base_prefix, "apt-get install python3-psycopg"),
    ],
)
def test_what_is_missing_for_postgresql_is_installed_as_the_rest_was(
    prefix: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setattr(sys, "prefix", prefix)
    store = Store("postgresql+psycopg://u@127.0.0.1:1/d", owner="correlator")
    with pytest.raises(ConfigError, match=re.escape(f"psycopg is not installed: {how}")), store.begin():
        pass


def test_a_prefix_with_a_dot_can_not_be_encoded() -> None:
    """Who subscribes has the prefix as it is given."""
    assert agent({"encode_dots": "true"}).settings.topics().host_status("a.b").endswith("/a%2Eb/status")
    with pytest.raises(ConfigError, match=r"the prefix site\.a has one; accepted: a prefix without dots"):
        agent({"encode_dots": "true", "prefix": "site.a"})


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="given /does/not/exist: No such file"):
        agent({"config": "/does/not/exist"})


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="accepted: TOML"):
        agent({"config": str(path)})


@pytest.mark.parametrize(
    "broker",
    ["mqtt://u:secret@h", "u:secret@h", "mqtt://u:se cret@h", "mqtt://u:sec/ret@h", "http://u:secret@h"],
)
def test_a_password_in_the_url_is_refused_and_not_repeated(broker: str) -> None:
    with pytest.raises(ConfigError) as error:
        agent({"broker": broker})
    assert "ret" not in str(error.value).partition("; accepted")[0].replace("secret@", "")
    assert "***@h" in str(error.value)


def test_the_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("geheim ü\nmore\n")
    settings = agent({"broker": "mqtts://u@h", "broker_password_file": str(path)}).settings
    assert settings.broker_settings() == BrokerSettings(
        scheme="mqtts", host="h", port=8883, path="", user="u", password="geheim ü"
    )
    assert settings.secrets() == ["geheim ü"]
    assert "geheim" not in repr(settings)
    assert "geheim" not in repr(settings.broker_settings())
    assert "geheim" not in settings.model_dump_json(fallback=str)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"broker_password_file": "FILE"}, "broker_password_file .*no user in mqtt://127.0.0.1:1883"),
        (
            {"broker": "mqtt://u@h", "broker_password_file": "EMPTY"},
            "broker_password_file .*first line is empty",
        ),
        ({"broker": "mqtt://u@h", "broker_password_file": "BINARY"}, "broker_password_file .*no UTF-8"),
        ({"broker_ca_file": "FILE"}, "broker_ca_file .*not encrypted; accepted: a broker of mqtts"),
        ({"broker": "wss://h", "broker_key_file": "FILE"}, "broker_key_file .*accepted: broker_cert_file"),
        ({"group": "g"}, "group .*PostgreSQL"),
        ({"group": "g", "store": "sqlite:////x"}, "group .*PostgreSQL"),
        ({"group": "g", "store": "postgresql://h/d", "broker_version": "3.1.1"}, "group .*MQTT 5"),
        ({"store_password_file": "FILE"}, "store_password_file .*no user in store"),
        (
            {"store": "postgresql://h/d", "store_password_file": "FILE"},
            "store_password_file .*no user in store",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    given: dict[str, str], told: str, tmp_path: Path
) -> None:
    files = {"FILE": b"text", "EMPTY": b"\nsecond", "BINARY": b"\xff"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    arguments = {key: str(tmp_path / value) if value in files else value for key, value in given.items()}
    with pytest.raises(ConfigError, match=told):
        correlator(arguments)


@pytest.mark.parametrize(
    ("store", "password", "url"),
    [
        ("sqlite:////x/y.db", None, "sqlite:////x/y.db"),
        ("postgresql://u@h/d", None, "postgresql+psycopg://u@h/d"),
        ("postgresql://u@h:1/d?x=y@z", "a@b/c", "postgresql+psycopg://u:a%40b%2Fc@h:1/d?x=y@z"),
        ("postgresql+psycopg://u:old@h/d", "new", "postgresql+psycopg://u:new@h/d"),
        ("postgresql://u@h,i/d?x=y", "p", "postgresql+psycopg://u:p@h,i/d?x=y"),
        ("postgresql://u@h:1,i/d?x=y", "p", "postgresql+psycopg://u:p@/d?x=y&host=h:1&host=i:5432"),
    ],
)
def test_the_store_is_named_as_sqlalchemy_wants_it(
    store: str, password: str | None, url: str, tmp_path: Path
) -> None:
    arguments = {"store": store}
    if password:
        (tmp_path / "password").write_text(password)
        arguments["store_password_file"] = str(tmp_path / "password")
    assert correlator(arguments).settings.store_url() == url


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert agent({"state_dir": "x"}).settings.state_dir == tmp_path / "x"


def test_a_size_may_carry_a_unit() -> None:
    assert agent({"outbox_max_bytes": "3GiB"}).settings.outbox_max_bytes == 3 << 30


def test_what_is_rendered_is_toml_that_gives_the_same_settings(toml: WriteToml, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim")
    given = {
        "broker": "wss://u@[::1]:99/x",
        "broker_password_file": str(tmp_path / "password"),
        "host": 'quote " and \\ and ü',
        "outbox_max_bytes": "5MB",
    }
    first = agent(given)
    text = "\n".join(render(first))
    assert tomllib.loads(text)["reconcile"] == 30
    assert agent({"config": toml(text)}).settings == first.settings
    assert first.settings.broker == BrokerAddress("wss", "::1", 99, "u", "/x")
    assert "geheim" not in text


def test_what_is_rendered_masks_the_stores_password() -> None:
    text = "\n".join(render(correlator({"store": "postgresql://u:geheim@h/d?password=geheim"})))
    assert 'store = "postgresql+psycopg://u:***@h/d?password=***"' in text
    assert "geheim" not in text


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_two_options_of_a_program_share_a_name(program: str) -> None:
    keys = [option.key for option in declared(PROGRAMS[program])]
    assert len(keys) == len(set(keys))
    assert not set(keys) & {"config", *PROGRAMS}


def test_an_option_means_the_same_for_every_program() -> None:
    meanings: dict[str, set[tuple[str, str]]] = {}
    for _program, option in OPTIONS:
        meanings.setdefault(option.key, set()).add((option.accepts, option.default))
    # For the hook `host` is a filter; the dashboard is there for its page.
    assert [key for key, meaning in meanings.items() if len(meaning) > 1] == ["host", "http"]
