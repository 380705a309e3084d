"""Access to the dashboard: the password, sessions, and the headers that restrict a browser."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.addresses import HttpAddress

COOKIE: Final = "libvirt_mqtt"
PROTECTED: Final = ("/api/", "/metrics")
"""The paths that need the password. The page itself contains no data, and asks for the password."""
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1}
"""What one guess costs: RFC 7914's figures for an interactive login, some 50 ms."""
_REMEMBERED: Final = 100
_LARGEST_FORM: Final = 16_384


class Password:
    """The password, and its proofs in a request: a session's cookie, or the password itself."""

    def __init__(self, password: str) -> None:
        self._key = self._derived(password)
        self._guess = asyncio.Lock()
        self._right: set[bytes] = set()

    @staticmethod
    def _derived(password: str) -> bytes:
        return hashlib.scrypt(password.encode(), salt=b"libvirt-mqtt dashboard", **_SCRYPT)

    async def is_right(self, password: str) -> bool:
        """Whether the password is right. Guesses are checked one after the other."""
        async with self._guess:
            derived = await asyncio.to_thread(self._derived, password)
        return hmac.compare_digest(derived, self._key)

    def session(self) -> str:
        """A new session: a value for the cookie, signed with the password's key."""
        nonce = secrets.token_urlsafe(18)
        return f"{nonce}.{self._signed(nonce)}"

    def _signed(self, nonce: str) -> str:
        return hmac.new(self._key, nonce.encode(), "sha256").hexdigest()

    async def lets_in(self, request: Request) -> bool:
        """Whether a request has a session, or the password by HTTP Basic authentication (RFC 7617)."""
        nonce, _, signed = request.cookies.get(COOKIE, "").partition(".")
        if nonce and hmac.compare_digest(signed.encode(), self._signed(nonce).encode()):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        digest = hashlib.sha256(given.encode()).digest()
        if digest in self._right:
            return True
        try:
            password = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
        if not await self.is_right(password):
            return False
        if len(self._right) >= _REMEMBERED:
            self._right.clear()
        self._right.add(digest)
        return True

    async def log_in(self, request: Request) -> Response:
        """`POST /login`: a session in exchange for the password."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_FORM:
                return refusal(413, "too much for a password")
        given = parse_qs(body.decode("ascii", "replace")).get("password", [""])[0]
        if not await self.is_right(given):
            return refusal(401, "wrong password")
        response = Response(status_code=204)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, self.session(), httponly=True, samesite="strict", secure=secure)
        return response


async def log_out(_: Request) -> Response:
    """`POST /logout`: the browser forgets its session."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def refusal(status: int, error: str, **more: object) -> Response:
    """A response with an error as JSON."""
    return JSONResponse({"error": error} | more, status, headers={"Cache-Control": "no-store"})


def own_names(address: HttpAddress) -> frozenset[str]:
    """The names by which a browser on this machine reaches the dashboard."""
    return frozenset({"localhost", "127.0.0.1", "[::1]", address.host.lower(), f"[{address.host.lower()}]"})


class Guard:
    """Adds the headers, and checks access.

    password None: none is needed. names: the accepted values of the header Host, None for any; without a
    password a page of another site must not read the API by a name that resolves to us (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, password: Password | None, names: Iterable[str] | None) -> None:
        self._app = app
        self._password = password
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = await self._refused(scope, receive)
        await (refused or self._app)(scope, receive, send_with_headers)

    async def _refused(self, scope: Scope, receive: Receive) -> Response | None:
        if self._names is not None:
            name = Headers(scope=scope).get("host", "").lower()
            bare = name if name.endswith("]") else name.rpartition(":")[0] or name
            if bare not in self._names:
                return refusal(421, f"host: given {name[:200]!r}; accepted: {', '.join(sorted(self._names))}")
        if self._password is None or not scope["path"].startswith(PROTECTED):
            return None
        request = Request(scope, receive)
        if await self._password.lets_in(request):
            return None
        response = refusal(401, "a password is needed")
        if (
            "sec-fetch-mode" not in request.headers
        ):  # a page asks by itself, a browser's dialog would be before it
            response.headers["WWW-Authenticate"] = 'Basic realm="libvirt-mqtt", charset="UTF-8"'
        return response
