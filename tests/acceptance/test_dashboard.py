"""`libvirt-mqtt dashboard` as a process: its API over a real broker, correlator and recorded migrations."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Self

import jsonschema
import pytest

from bridge.dashboard.feed import NAMES
from bridge.dashboard.openapi import OF_PATHS
from bridge.demo.agents import PlayedAgent
from bridge.mqtt.messages import Publication
from bridge.wire.messages import LIFECYCLE, Domain, Lifecycle, build, event_id, host_source, stamp
from bridge.wire.topics import Topics
from tests.page.parts import ROOMY, DashboardProcess, World
from tests.support.broker import Broker, free_port
from tests.support.certificates import Certificates
from tests.support.correlators import Fleet as Agents
from tests.support.correlators import messages_of
from tests.support.processes import environment, wait_until
from tests.support.traces import load
from tests.support.unretained_proxy import UnretainedProxy

pytestmark = pytest.mark.server

TOPICS = Topics()
BATCH = "application/cloudevents-batch+json"
UUID = "c7a5fdbd-edaf-9455-926a-d65c16db1809"
SCENARIOS = ("live", "aborted", "postcopy", "suspend_on_arrival", "src_qemu_killed")


class Client:
    """One HTTP connection for each request, so that nothing is left open."""

    def __init__(self, dashboard: DashboardProcess, context: ssl.SSLContext | None = None) -> None:
        self._port = dashboard.port
        self._context = context

    def ask(
        self, path: str, *, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        connection = (
            http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            if self._context is None
            else http.client.HTTPSConnection("localhost", self._port, timeout=20, context=self._context)
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def read(self, path: str, status: int = 200, **headers: str) -> Any:
        answer, body = self.ask(f"/api/v1/{path}", **headers)
        assert answer.status == status, body
        return json.loads(body)

    def all(self, path: str, limit: int = 100) -> list[dict[str, Any]]:
        """The items of all pages."""
        items: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.read(f"{path}{'&' if '?' in path else '?'}limit={limit}{after}")
            items += page["items"]
            if page["next"] is None:
                return items
            after = f"&after={page['next']}"


class Stream:
    """Reads one stream of server-sent events."""

    def __init__(self, dashboard: DashboardProcess, query: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/api/v1/stream{query}", headers=named)
        self._answer = self._connection.getresponse()
        assert self._answer.getheader("content-type", "").startswith("text/event-stream")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._answer.close()

    def next(self, *names: str) -> dict[str, Any]:
        """The next event of one of these names: its fields, `data` read."""
        while True:
            fields: dict[str, Any] = {}
            while line := self._answer.readline().decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
            if fields["event"] in names:
                return fields | {"data": json.loads(fields["data"])}


def events(host: str, first: int, count: int, epoch: str = "e1") -> list[Publication]:
    """So many events of a host's stream, from that sequence on."""
    made = []
    for sequence in range(first, first + count):
        word, code = ("suspended", 3) if sequence % 2 else ("resumed", 4)
        data = Lifecycle(
            host=host,
            driver="QEMU",
            domain=Domain(uuid=UUID, name="web01", id=3),
            event=word,
            event_code=code,
            detail="paused" if sequence % 2 else "unpaused",
            detail_code=0,
            origin="event",
        )
        payload = build(
            LIFECYCLE,
            id=event_id(epoch, sequence),
            source=host_source(host),
            time=stamp(time.time()),
            subject=UUID,
            sequence=sequence,
            data=data,
        )
        made.append(Publication(TOPICS.lifecycle(host, UUID, word), payload))
    return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Five migrations of as many kinds have happened, and the dashboard has all of them."""
    with World(tmp_path_factory.mktemp("dashboard")) as world:
        uuids = [world.migrate(scenario, scenario, f"name-{scenario}") for scenario in SCENARIOS]
        world.agents.until(
            lambda: (
                {
                    published.uuid
                    for published in world.agents.published()
                    if published.word in ("completed", "failed")
                }
                == set(uuids)
            )
        )
        client = Client(world.dashboard)
        wait_until(lambda: len(client.all("migrations?running=false")) == len(SCENARIOS))
        yield world


@pytest.fixture
def client(world: World) -> Client:
    return Client(world.dashboard)


def test_every_verdict_is_an_item_as_it_was_published(world: World, client: Client) -> None:
    verdicts = {
        published.id: published
        for published in world.agents.published()
        if published.word in ("completed", "failed")
    }
    items = client.all("migrations?running=false", limit=2)
    assert len(items) == len(SCENARIOS)
    assert {item["id"]: item["data"] for item in items} == {
        item["id"]: verdicts[item["id"]].data for item in items
    }
    assert [item["time"] for item in items] == sorted((item["time"] for item in items), reverse=True)
    assert all(item["key"] == item["data"]["migration"] for item in items)
    live = next(item for item in items if item["domain"]["name"] == "name-live")
    assert (live["where"], live["mark"], live["tone"]) == ("host1-live → host2-live", "✓", "good")
    assert live["text"].startswith("completed in ")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("domain=name-live", {"live"}),
        ("host=host2-postcopy", {"postcopy"}),
        ("host=host1-aborted", {"aborted"}),
        ("outcome=failed", {"aborted", "src_qemu_killed"}),
        ("outcome=failed&reason=source_crashed", {"src_qemu_killed"}),
        ("outcome=completed,failed&since=1h", set(SCENARIOS)),
        ("until=1h", set()),
        ("min_downtime_ms=0", {"live", "postcopy", "suspend_on_arrival"}),
        ("running=true", set()),
        ("domain=nobody", set()),
    ],
)
def test_filters(client: Client, query: str, names: set[str]) -> None:
    found = {item["domain"]["name"].removeprefix("name-") for item in client.all(f"migrations?{query}")}
    assert found == names


def test_events_are_all_that_tells_of_a_moment(world: World, client: Client) -> None:
    sent = {
        json.loads(p.payload)["id"]
        for p in world.agents.sent
        if "/lifecycle/" in p.topic or "/event/" in p.topic
    }
    published = {each.id for each in world.agents.published() if each.word not in ("current", "last")}
    wait_until(lambda: {item["id"] for item in client.all("events", 1000)} == sent | published)
    items = client.all("events", 7)
    assert len(items) == len({(item["source"], item["id"]) for item in items})
    oldest = client.all("events?order=oldest", 7)
    assert oldest == items[::-1]


def test_the_story_of_a_migration_has_both_hosts_and_its_evidence(client: Client) -> None:
    item = client.read("migrations?domain=name-live")["items"][0]
    story = client.read(f"migrations/{item['key']}")
    assert story["migration"] == item
    assert story["messages"][0]["data"]["outcome"] == "started"
    assert {each["data"]["host"] for each in story["events"]} == {"host1-live", "host2-live"}
    shown = {(each["source"], each["id"]) for each in story["events"]}
    assert story["evidence"]
    assert {(each["source"], each["id"]) for each in story["evidence"]} <= shown
    assert client.read("migrations/none", 404) == {"error": "no such migration"}


def test_domains_and_hosts_are_as_they_are_now(client: Client) -> None:
    (domain,) = client.all("domains?domain=name-live")
    assert (domain["host"], domain["state"], domain["location"]) == ("host2-live", "running", "host2-live")
    hosts = client.all("hosts", limit=3)
    assert len(hosts) == 2 * len(SCENARIOS)
    assert {host["state"] for host in hosts} == {"online"}
    assert not any(host["blind"] or host["holes"] for host in hosts)
    assert [host["host"] for host in client.all("hosts?q=2-LIVE")] == ["host2-live"]
    assert client.read("summary")["hosts"] == len(hosts)
    assert {d["name"] for d in client.all("domains?host=host2-live", 1)} == {"name-live"}
    assert {d["uuid"] for d in client.all("domains", 2)} >= {domain["uuid"]}


def test_what_needs_somebody_is_said(client: Client) -> None:
    found = client.read("attention")
    assert found["conflicts"] == found["unresolved"] == found["blind"] == []


def test_a_batch_is_the_messages_own_bytes(world: World, client: Client) -> None:
    published = [each.payload for each in world.agents.published()]
    answer, body = client.ask("/api/v1/migrations?running=false&limit=2", Accept=BATCH)
    assert answer.getheader("content-type") == BATCH
    assert 'rel="next"' in answer.getheader("link", "")
    for payload in (each.encode() for each in _split(body.decode())):
        assert payload in published
    assert len(json.loads(body)) == 2
    for path in ("events", "domains", "hosts"):
        messages = client.read(path, Accept=BATCH)
        assert messages
        assert all(message["specversion"] == "1.0" for message in messages)


def _split(batch: str) -> list[str]:
    """The elements of a JSON list, as they stand there."""
    decoder, at, found = json.JSONDecoder(), 1, []
    while at < len(batch) - 1:
        _, end = decoder.raw_decode(batch, at)
        found.append(batch[at:end])
        at = end + 1
    return found


def test_answers_are_as_openapi_describes_them(client: Client) -> None:
    document = client.read("openapi.json")
    assert set(document["paths"]) == set(OF_PATHS)
    key = client.read("migrations?running=false")["items"][0]["key"]
    for path, (_, _, schema) in OF_PATHS.items():
        if schema:
            answer = client.read(path.removeprefix("/api/v1/").replace("{key}", key))
            found = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
            jsonschema.validate(answer, found, cls=jsonschema.Draft202012Validator)
    error = {"$ref": "#/components/schemas/Error", "components": document["components"]}
    jsonschema.validate(client.read("events?limit=0", 400), error)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after=x", "since=yesterday", "until=2026-01-01T00:00:00", "domain=",
     "min_downtime_ms=-1", "order=up", "running=maybe", "nonsense=1", "outcome=,"],
)  # fmt: skip
def test_a_wrong_parameter_is_said(client: Client, query: str) -> None:
    error = client.read(f"migrations?{query}", 400)["error"]
    assert error.startswith(query.partition("=")[0] + ": given ")
    assert "; accepted: " in error


def test_a_page_may_do_nothing_but_ask_us(client: Client) -> None:
    for path in ("/", "/static/page.js", "/api/v1/hosts", "/api/v1/none"):
        answer, _ = client.ask(path)
        policy = answer.getheader("content-security-policy", "")
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer.getheader("x-content-type-options") == "nosniff"
        assert answer.getheader("referrer-policy") == "no-referrer"


def test_another_name_of_this_machine_is_refused(client: Client) -> None:
    """A page of another site whose name was made to mean 127.0.0.1 must not read what is here."""
    answer, body = client.ask("/api/v1/hosts", Host="evil.example:9473")
    assert answer.status == 421
    assert b"evil.example" in body
    for name in ("localhost:1", "127.0.0.1", "[::1]:9473"):
        assert client.ask("/api/v1/hosts", Host=name)[0].status == 200


def test_health_and_metrics_are_served(client: Client) -> None:
    assert client.ask("/livez")[0].status == 200
    assert json.loads(client.ask("/readyz")[1]) == {"ok": True, "problems": {}}
    metrics = client.ask("/metrics")[1].decode()
    assert "libvirt_mqtt_dashboard_broker_connected 1.0" in metrics
    assert "process_resident_memory_bytes" in metrics


def test_a_broker_that_sends_retained_messages_to_no_wildcard_is_named(tmp_path: Path) -> None:
    _, messages = messages_of(load("live"), "unretained")
    statuses = [each for each in messages if each.topic.endswith("/status") and b'"online"' in each.payload]
    with (
        Broker(tmp_path / "broker", *ROOMY) as broker,
        UnretainedProxy(broker.port) as proxy,
        DashboardProcess(proxy, tmp_path) as dashboard,
        Agents(broker) as agents,
    ):
        dashboard.until_logged("broker.connected")
        agents.publish(statuses)
        dashboard.until_logged("broker.sends_no_retained")
        answer, body = Client(dashboard).ask("/readyz")
        assert answer.status == 503
        assert json.loads(body)["problems"]["retained"].startswith(
            "the broker doesn't send retained messages"
        )


def test_states_that_the_broker_does_not_send_are_reported(tmp_path: Path) -> None:
    """The statuses of two hosts count one state each, and that of one host doesn't come."""
    _, messages = messages_of(load("live"), "few")
    state = next(each for each in messages if each.topic.endswith("/state") and each.payload)
    host = TOPICS.parse(state.topic).host
    statuses = [each for each in messages if each.topic.endswith("/status") and b'"online"' in each.payload]
    (other,) = {TOPICS.parse(each.topic).host for each in statuses} - {host}
    with World(tmp_path, correlates=False) as world:
        dashboard, client = world.dashboard, Client(world.dashboard)

        def ready() -> Any:
            answer, body = client.ask("/readyz")
            assert answer.status == 200
            return json.loads(body)

        counted = [
            replace(each, payload=each.payload.replace(b'"states":0', b'"states":1')) for each in statuses
        ]
        world.agents.publish([*counted, state])
        dashboard.until_logged("host.states_missing")
        ((missing, came, of),) = [
            (line["host"], line["came"], line["of"]) for line in dashboard.logged("host.states_missing")
        ]
        assert (missing, came, of) == (other, 0, 1)
        assert (
            f"restart the agent, which publishes them again: {other} (0 of 1)" in ready()["detail"]["states"]
        )
        assert b"_hosts_without_states 1.0" in client.ask("/metrics")[1]
        topic = TOPICS.state(other, TOPICS.parse(state.topic).uuid)
        payload = state.payload.replace(host.encode(), other.encode())
        world.agents.publish([replace(state, topic=topic, payload=payload)])
        wait_until(lambda: "detail" not in ready())
        assert b"_hosts_without_states 0.0" in client.ask("/metrics")[1]


def test_the_command_line_prints_the_same_history(world: World, client: Client) -> None:
    store = f"--state-dir={world._folder / 'dashboard'}"

    def history(*options: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "history", *options],
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stderr == "" or done.returncode == 1
        return done.returncode, done.stdout.splitlines()

    for source in (store, f"--url={world.dashboard.url}"):
        status, lines = history(source, "--since", "12h", "--failed")
        assert status == 0
        assert [("✗" in line, line.count("name-")) for line in lines] == [(True, 1)] * 2
        status, lines = history(source, "--domain", "name-live", "--json")
        assert [json.loads(line)["data"]["outcome"] for line in lines] == ["completed"]
        assert history(source, "--domain", "nobody") == (1, [])
        status, lines = history(source, "--all", "--json")
        assert (status, len(lines)) == (0, len(client.all("events")))
    assert history(f"{store}/none") == (1, [])
    assert history(store, "--since", "yesterday") == (1, [])


def test_who_comes_late_has_the_newest_verdicts_and_what_is_under_way(world: World, tmp_path: Path) -> None:
    finish = world.begin("live", "late", "name-late")
    running = Client(world.dashboard)
    wait_until(lambda: len(running.all("migrations?running=true")) == 1)
    with DashboardProcess(world.broker, tmp_path, id="late") as late:
        client = Client(late)
        late.until_logged("broker.connected")
        wait_until(lambda: len(client.all("migrations")) == len(SCENARIOS))
        past = client.all("migrations?running=false")
        assert {item["domain"]["name"] for item in past} == {f"name-{each}" for each in SCENARIOS}
        for asked in (client, running):
            wait_until(lambda asked=asked: asked.all("migrations?running=true")[0]["phase"] is not None)  # type: ignore[misc]
            (item,) = asked.all("migrations?running=true")
            assert (item["domain"]["name"], item["where"]) == ("name-late", "host1-late → host2-late")
            assert asked.read("summary")["running_migrations"] == 1
        with Stream(late, "?events=migration,progress") as stream:
            finish()
            assert stream.next("migration")["data"]["data"]["outcome"] == "completed"
            assert stream.next("progress")["data"]["migration"] is None
        for asked in (client, running):
            wait_until(lambda asked=asked: asked.all("migrations?running=true") == [])  # type: ignore[misc]


def test_what_was_cleared_while_the_broker_was_away_is_gone(tmp_path: Path) -> None:
    agent = PlayedAgent("host1", TOPICS, epoch="e1")
    with World(tmp_path, correlates=False) as world:
        client = Client(world.dashboard)
        world.migrate("live", "gone")
        world.agents.publish([agent.status(time.time())])
        wait_until(lambda: len(client.all("domains")) > 0 and len(client.all("hosts")) == 3)
        topics = [each.topic for each in world.agents.sent if each.retain]
        os.kill(world.dashboard.pid, signal.SIGSTOP)
        world.agents.publish(Publication(topic, b"", retain=True) for topic in topics)
        world.agents.publish([agent.status(time.time())])
        os.kill(world.dashboard.pid, signal.SIGCONT)
        wait_until(lambda: (len(client.all("domains")), len(client.all("hosts"))) == (0, 1))
        world.agents.publish([PlayedAgent("host2", TOPICS, epoch="e1").status(time.time())])
        wait_until(lambda: len(client.all("hosts")) == 2)
        world.dashboard.kill()
        world.agents.publish([Publication(TOPICS.host_status("host2"), b"", retain=True)])
        world.dashboard.start()
        wait_until(lambda: [host["host"] for host in client.all("hosts")] == ["host1"])


def test_a_stream_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with World(tmp_path, correlates=False) as world:
        client = Client(world.dashboard)
        with Stream(world.dashboard) as stream:
            assert stream.next("summary")["data"]["broker"]["connected"] is True
            began = time.monotonic()
            world.agents.publish(events("host1", 1, 3))
            seen = [stream.next("event") for _ in range(3)]
            assert time.monotonic() - began < 1
        assert [each["data"]["id"] for each in seen] == ["e1-1", "e1-2", "e1-3"]
        assert [each["id"] for each in seen] == [each["data"]["cursor"] for each in seen]
        world.agents.publish(events("host2", 1, 2))
        world.agents.publish(events("host1", 4, 700))
        wait_until(lambda: client.read("summary")["store"]["rows"] == 705)
        with Stream(world.dashboard, Last_Event_ID=seen[0]["id"]) as stream:
            ids = [stream.next("event")["data"]["id"] for _ in range(704)]
            assert ids == ["e1-2", "e1-3", "e1-1", "e1-2", *(f"e1-{n}" for n in range(4, 704))]
            world.agents.publish(events("host1", 704, 1))
            assert stream.next("event")["data"]["id"] == "e1-704"
        with Stream(world.dashboard, f"?host=host2&after={seen[0]['id']}&events=event") as stream:
            ids = [stream.next(*NAMES)["data"].get("id") for _ in range(2)]
        assert client.read("stream?events=nonsense", 400)["error"].startswith("events: given ")
        assert world.dashboard.stop() == 0


def test_what_is_no_longer_kept_is_said(tmp_path: Path) -> None:
    with World(tmp_path, correlates=False, keep_bytes=1_000_000) as world:
        client = Client(world.dashboard)
        world.agents.publish(events("host1", 1, 3))
        wait_until(lambda: len(client.all("events")) == 3)
        first = client.read("events?order=oldest&limit=1")
        world.agents.publish(events("host1", 4, 6000))
        wait_until(lambda: client.read("events?limit=1")["oldest"] != first["oldest"], timeout_s=40)
        gone = client.read(f"events?after={first['next']}", 410)
        assert gone["oldest"] == client.read("events?limit=1")["oldest"]
        wait_until(lambda: client.read("summary")["store"]["newest"].endswith("-6003"))
        wait_until(lambda: client.read("summary")["store"]["bytes"] <= 1_000_000)
        with Stream(world.dashboard, Last_Event_ID=first["next"]) as stream:
            reset = stream.next("reset", "event")
            assert reset["event"] == "reset"
            assert reset["id"] == reset["data"]["newest"]
            world.agents.publish(events("host1", 6004, 1))
            assert stream.next("reset", "event")["data"]["id"] == "e1-6004"


def test_a_hole_is_shown_until_it_is_filled(tmp_path: Path) -> None:
    with World(tmp_path, correlates=False) as world:
        client = Client(world.dashboard)
        world.agents.publish([PlayedAgent("host1", TOPICS, epoch="e1").status(time.time())])
        all_of_it = events("host1", 1, 9)
        world.agents.publish([*all_of_it[:3], *all_of_it[6:]])
        wait_until(lambda: len(client.all("events")) == 6)
        wait_until(lambda: client.read("hosts")["items"][0]["holes"] != [])
        (host,) = client.read("hosts")["items"]
        times = {item["id"]: item["time"] for item in client.all("events")}
        (hole,) = host["holes"]
        assert hole == {
            "epoch": "e1",
            "first": 4,
            "last": 6,
            "after": times["e1-3"],
            "before": times["e1-7"],
            "lost": False,
        }
        world.dashboard.kill()
        world.dashboard.start()
        wait_until(lambda: [each["holes"] for each in client.read("hosts")["items"]] == [[hole]])
        world.agents.publish(all_of_it[3:6])
        wait_until(lambda: client.read("hosts")["items"][0]["holes"] == [])
        expected = [f"e1-{n}" for n in range(9, 0, -1)]
        wait_until(lambda: [item["id"] for item in client.all("events")] == expected)


def test_killed_in_a_storm_no_row_is_missing_and_none_there_twice(tmp_path: Path) -> None:
    rng = random.Random(3)
    with World(tmp_path, correlates=False) as world:
        client = Client(world.dashboard)
        sequence = 1
        hosts = ("host1", "host2")
        world.agents.publish([PlayedAgent(host, TOPICS, epoch="e1").status(time.time()) for host in hosts])
        for _ in range(6):
            count = rng.randrange(300, 900)
            for host in hosts:
                world.agents.publish(events(host, sequence, count))
            sequence += count
            time.sleep(rng.random() * 0.2)
            world.dashboard.kill()
            world.agents.publish(events("host3", sequence, 20, epoch=f"e{sequence}"))
            world.dashboard.start()
            time.sleep(rng.random() * 0.5)
        expected = {(host_source(host), f"e1-{n}") for host in hosts for n in range(1, sequence)}
        wait_until(
            lambda: client.read("summary")["store"]["rows"] == len(expected) + 120,
            lambda: client.read("summary"),
            timeout_s=60,
        )
        items = client.all("events", 1000)
        found = [(item["source"], item["id"]) for item in items]
        assert len(found) == len(set(found))
        assert expected <= set(found)
        assert [host["holes"] for host in client.all("hosts")] == [[]] * 2


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("let me ön\n")
    certificates = Certificates(tmp_path / "certificates")
    server = certificates.server
    options = {
        "http_password_file": password, "http_cert_file": server.certificate, "http_key_file": server.key,
    }  # fmt: skip
    with World(tmp_path, correlates=False, **options) as world:
        context = ssl.create_default_context(cafile=str(certificates.authority))
        client = Client(world.dashboard, context)
        assert client.ask("/")[0].status == 200
        assert client.ask("/livez")[0].status == 200
        for path in ("/api/v1/hosts", "/api/v1/stream", "/api/v1/openapi.json", "/metrics"):
            answer, _ = client.ask(path)
            assert answer.status == 401
            assert answer.getheader("www-authenticate", "").startswith("Basic ")
        assert client.ask("/api/v1/hosts", Sec_Fetch_Mode="cors")[0].getheader("www-authenticate") is None

        def basic(given: str) -> str:
            return "Basic " + base64.b64encode(f"me:{given}".encode()).decode()

        for _ in range(2):
            assert client.read("hosts", 401, Authorization=basic("let me in")) == {
                "error": "a password is needed"
            }
            assert client.read("hosts", Authorization=basic("let me ön"))["items"] == []
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert client.ask("/login", method="POST", body="password=wrong", **form)[0].status == 401
        answer, _ = client.ask("/login", method="POST", body="password=let+me+%C3%B6n", **form)
        cookie = answer.getheader("set-cookie", "")
        assert answer.status == 204
        assert {"httponly", "samesite=strict", "secure"} <= {
            part.strip().lower() for part in cookie.split(";")
        }
        session = cookie.partition(";")[0]
        assert client.read("hosts", Cookie=session)["items"] == []
        assert client.ask("/api/v1/hosts", Cookie=session[:-1])[0].status == 401
        world.dashboard.kill()
        world.dashboard.start()
        wait_until(lambda: client.ask("/api/v1/hosts", Cookie=session)[0].status == 200)
        assert "let me" not in world.dashboard.log


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--http=0.0.0.0:0",), "http (--http on the command line): given '0.0.0.0:0', other machines"),
        (("--http=:0",), "http_password_file beside it, or http_open"),
        (("--http-key-file=/etc/hostname",), "http_key_file"),
        (("--http-cert-file=/etc/hostname",), "http_cert_file"),
        (("--keep-days=0",), "keep_days"),
    ],
)
def test_it_does_not_start_where_it_must_not(options: tuple[str, ...], said: str) -> None:
    for command in ("dashboard", "check-config"):
        arguments = [command, *(["dashboard"] if command == "check-config" else []), *options]
        done = subprocess.run(
            [sys.executable, "-m", "bridge", *arguments],
            env=environment(), capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 78
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_it_is_open_to_all_where_that_is_said(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", *ROOMY) as broker:
        settings = tmp_path / "settings.toml"
        settings.write_text("http_open = true\n")
        port = free_port()
        dashboard = DashboardProcess(broker, tmp_path, http=f":{port}", config=settings)
        dashboard.port = port
        with dashboard:
            client = Client(dashboard)
            wait_until(lambda: client.ask("/api/v1/hosts", Host="proxy.example")[0].status == 200)
            assert dashboard.stop(signal.SIGINT) == 0
