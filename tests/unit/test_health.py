"""Health and metrics over HTTP."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import pytest
from prometheus_client import CollectorRegistry, Counter

from bridge.addresses import HttpAddress
from bridge.errors import BridgeError
from bridge.health import HealthServer


class Service:
    """A service with two things that can be wrong."""

    def __init__(self) -> None:
        self.problems: dict[str, str | None] = {"broker": None, "libvirt": None}
        self.registry = CollectorRegistry()
        self.events = Counter("events", "What happened.", registry=self.registry)

    def live(self) -> Mapping[str, str | None]:
        return {"outbox": None}

    def ready(self) -> Mapping[str, str | None]:
        return self.problems


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def server(service: Service) -> Iterator[HealthServer]:
    address = HttpAddress("127.0.0.1", 0)
    with HealthServer(address, registry=service.registry, live=service.live, ready=service.ready) as running:
        yield running


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_all_is_well(server: HealthServer) -> None:
    for path in ("/livez", "/readyz", "/readyz?verbose"):
        status, content_type, body = ask(server, path)
        assert (status, content_type) == (200, "application/json")
        assert json.loads(body) == {"ok": True, "problems": {}}


def test_what_is_not_ready_is_named_and_only_that(server: HealthServer, service: Service) -> None:
    service.problems["broker"] = "not connected"
    status, _, body = ask(server, "/readyz")
    assert status == 503
    assert json.loads(body) == {"ok": False, "problems": {"broker": "not connected"}}
    assert ask(server, "/livez")[0] == 200


def test_a_check_that_fails_counts_as_a_problem(server: HealthServer, service: Service) -> None:
    service.problems = None  # type: ignore[assignment]
    status, _, body = ask(server, "/readyz")
    assert status == 503
    assert "AttributeError" in json.loads(body)["problems"]["check"]


def test_metrics_are_prometheus_text(server: HealthServer, service: Service) -> None:
    service.events.inc(3)
    status, content_type, body = ask(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain")
    assert "events_total 3.0" in body


def test_anything_else_is_refused(server: HealthServer) -> None:
    status, _, body = ask(server, "/")
    assert status == 404
    assert "There are /livez, /readyz and /metrics.<" in body
    assert ask(server, "/livez", "POST")[0] == 501


def test_head_has_no_body(server: HealthServer) -> None:
    status, _, body = ask(server, "/readyz", "HEAD")
    assert (status, body) == (200, "")


def test_a_client_that_says_nothing_holds_up_neither_others_nor_the_end(service: Service) -> None:
    address = HttpAddress("127.0.0.1", 0)
    server = HealthServer(address, registry=service.registry, live=service.live, ready=service.ready)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert ask(server, "/livez")[0] == 200
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 5
    server.stop()


def test_the_thread_has_a_name_and_ends(service: Service) -> None:
    address = HttpAddress("127.0.0.1", 0)
    with HealthServer(address, registry=service.registry, live=service.live, ready=service.ready):
        assert "http" in {thread.name for thread in threading.enumerate()}
    assert "http" not in {thread.name for thread in threading.enumerate()}


def test_ipv6_is_served(service: Service) -> None:
    address = HttpAddress("::1", 0)
    server = HealthServer(address, registry=service.registry, live=service.live, ready=service.ready)
    try:
        server.start()
    except BridgeError as error:
        pytest.skip(f"no IPv6: sysctl net.ipv6.conf.lo.disable_ipv6=0 switches it on ({error})")
    with socket.create_connection(("::1", server.port)):
        server.stop()


def test_an_address_that_is_taken_is_reported(server: HealthServer, service: Service) -> None:
    taken = HttpAddress("127.0.0.1", server.port)
    second = HealthServer(taken, registry=service.registry, live=service.live, ready=service.ready)
    with pytest.raises(BridgeError, match=f"http: can't serve on 127.0.0.1:{server.port}: Address already"):
        second.start()
