"""The web server of a dashboard, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import uvicorn

from bridge.dashboard.web import Web
from bridge.errors import BridgeError, ThreadDiedError
from bridge.log import get_logger

if TYPE_CHECKING:
    from bridge.config import DashboardSettings

BACKLOG: Final = 512
CLOSE_S: Final = 2
"""What an answer that is under way gets at the end."""

_log = get_logger()


class Server:
    """Serves `web` while its block lasts. died: called when the thread ends by itself.

    Raises BridgeError where the address can't be had, and ThreadDiedError at the end where the thread died.
    """

    def __init__(self, settings: DashboardSettings, web: Web, died: Callable[[], None]) -> None:
        self._web = web
        self._died = died
        self._failure: BaseException | None = None
        self._socket = _bound(settings)
        self._server = uvicorn.Server(
            uvicorn.Config(
                web.app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=CLOSE_S,
                ssl_certfile=settings.http_cert_file,
                ssl_keyfile=settings.http_key_file,
            )
        )
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self.url = f"{'https' if settings.http_cert_file else 'http'}://{self._shown(settings)}/"

    def _shown(self, settings: DashboardSettings) -> str:
        return str(type(settings.http)(settings.http.host, self._socket.getsockname()[1]))

    def __enter__(self) -> Self:
        self._thread.start()
        _log.info("http.serving", url=self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._web.feed.close()
        self._thread.join()
        self._web.close()
        if self._failure is not None:
            raise ThreadDiedError("http", self._failure)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits for the end
            self._failure = error
            self._died()

    async def _serve(self) -> None:
        feed = asyncio.ensure_future(self._web.feed.run())
        await self._server.serve(sockets=[self._socket])
        feed.cancel()


def _bound(settings: DashboardSettings) -> socket.socket:
    address = settings.http
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With its protocol named: asyncio sets TCP_NODELAY on no other, and each answer then waits for 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise BridgeError(f"http: can't serve on {address}: {error.strerror or error}") from error
    return sock
