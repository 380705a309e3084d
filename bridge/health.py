"""Health and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.

A service passes functions that say what is wrong; this file only serves it. No request can block the service:
each is answered in a thread of its own, and a slow one is cut off.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Final, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bridge.addresses import HttpAddress
from bridge.errors import BridgeError
from bridge.log import get_logger

Check = Callable[[], Mapping[str, str | None]]
"""Each thing that counts by its name, with what is wrong with it, or None."""

_SLOWEST_REQUEST_S: Final = 10
_log = get_logger()


class HealthServer:
    """Serves health and metrics from `start()` to `stop()`; also a context manager.

    `live`, `ready` and `detail` are called in the server's threads, so they must be thread-safe and quick. A
    check that raises counts as wrong. `detail` names what is wrong elsewhere, and leaves the service ready.
    Start raises BridgeError where the address isn't available.
    """

    def __init__(
        self,
        address: HttpAddress,
        *,
        registry: CollectorRegistry,
        live: Check,
        ready: Check,
        detail: Check = dict,
    ) -> None:
        self._address = address
        self._answers: dict[str, Callable[[], Answer]] = {
            "/livez": lambda: health(live),
            "/readyz": lambda: health(ready, detail),
            "/metrics": lambda: Answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)),
        }
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served: the given one, or for 0 the one that was assigned."""
        return self._address.port if self._server is None else self._server.server_port

    def start(self) -> None:
        """Binds the address and serves from a thread named `http`."""
        try:
            self._server = _Server(self._address, self._answers)
        except OSError as error:
            raise BridgeError(f"http: can't serve on {self._address}: {error.strerror or error}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.25}, name="http", daemon=True
        )
        self._thread.start()
        _log.info("http.serving", address=self._address.host, port=self.port)

    def stop(self) -> None:
        """Stops serving; a second call does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Answer:
    """The response."""

    status: HTTPStatus
    content_type: str
    body: bytes


def health(check: Check, detail: Check = dict) -> Answer:
    """200 where nothing is wrong, else 503 with the problems."""
    beside: Mapping[str, str | None] = {}
    try:
        wrong = {name: problem for name, problem in check().items() if problem is not None}
        beside = detail()
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is "not well"
        wrong = {"check": repr(error)}
    status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
    body = json.dumps({"ok": not wrong, "problems": wrong, **({"detail": beside} if beside else {})}) + "\n"
    return Answer(status, "application/json", body.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that dawdles doesn't delay our end

    def __init__(self, address: HttpAddress, answers: Mapping[str, Callable[[], Answer]]) -> None:
        self.answers = answers
        self.address_family = AF_INET6 if ":" in address.host else AF_INET
        super().__init__((address.host, address.port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the parent's
        _log.debug("http.request_failed", client=str(client_address), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SLOWEST_REQUEST_S
    server_version = "libvirt-mqtt"
    sys_version = ""

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path.partition("?")[0])
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND, explain="There are /livez, /readyz and /metrics")
            return
        self._send(answer())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        _log.debug("http.request", client=self.client_address[0], line=format % args)
