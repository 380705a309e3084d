"""`libvirt-mqtt history`: the outcomes of migrations, from a dashboard's store or its URL."""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import Request, urlopen

from bridge import log
from bridge.config import PROGRAMS, HistorySettings
from bridge.errors import BridgeError
from bridge.options import load
from bridge.wire.topics import Topics

PAGE: Final = 1000
_FILTERS: Final = ("since", "until", "domain", "host", "outcome", "reason", "min_downtime_ms")
_NEXT: Final = re.compile(r'<([^>]*)>; rel="next"')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The query: of the command line only, since it is no setting."""
    ago = "RFC 3339 with a time zone, or how long ago as in 90s, 30m, 12h, 7d"
    parser.add_argument("--since", metavar="WHEN", help=f"only since then; {ago}")
    parser.add_argument("--until", metavar="WHEN", help=f"only before then; {ago}")
    parser.add_argument("--domain", metavar="DOMAIN", help="a UUID, or any name that the domain has had")
    parser.add_argument("--host", metavar="NAME", help="either side of a migration")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--outcome", metavar="LIST", help="outcomes, separated by commas")
    what.add_argument(
        "--failed", dest="outcome", action="store_const", const="failed", help="the same as --outcome failed"
    )
    parser.add_argument("--reason", metavar="LIST", help="reasons, separated by commas")
    parser.add_argument("--min-downtime-ms", metavar="MS", help="the least downtime")
    parser.add_argument(
        "--all", action="store_true", help="every message, not only the newest of each attempt"
    )
    parser.add_argument("--json", dest="as_json", action="store_true", help="each message as one JSON line")
    parser.add_argument("--url", help="a dashboard's URL, instead of its store")
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="the password for --url")
    parser.add_argument("--ca-file", metavar="FILE", help="the CA that signed the certificate at --url")


def run(arguments: argparse.Namespace) -> int:
    """Prints what matches, the oldest first; 1 when nothing did. Raises BridgeError."""
    from bridge.dashboard.moments import address_of
    from bridge.watch import view_for

    loaded = load(HistorySettings, "dashboard", vars(arguments), os.environ, PROGRAMS)
    for secret in loaded.settings.secrets():
        log.hide(secret)
    asked = {name: text for name in _FILTERS if (text := getattr(arguments, name)) is not None}
    found = _from_url(arguments, asked) if arguments.url else _from_store(loaded.settings, arguments, asked)
    view, matched = view_for(sys.stdout, Topics()), False
    for payload in found:
        message, matched = json.loads(payload), True
        if arguments.as_json:
            print(json.dumps(message))
        else:
            print(view.moment(address_of(message), message, now_s=time.time()))
    return 0 if matched else 1


def _from_store(
    settings: HistorySettings, arguments: argparse.Namespace, asked: dict[str, str]
) -> Iterator[bytes]:
    from bridge.dashboard import filters
    from bridge.dashboard.store import Archive
    from bridge.database import StoreTroubleError

    archive = Archive(settings.store_url())
    try:
        values = filters.read(asked, filters.OF_ROWS)
        wanted, after = filters.wanted(values, archive.uuids, latest=not arguments.all), None
        while True:
            page = archive.page(wanted, limit=PAGE, after=after, newest_first=False)
            for row in page.rows:
                yield row.payload
            if (after := page.next) is None:
                return
    except filters.ParameterError as error:
        raise BridgeError(str(error)) from error
    except StoreTroubleError as error:
        raise BridgeError(
            f"store: given {log.mask(str(archive))}, {error}; accepted: a dashboard's"
        ) from error
    finally:
        archive.close()


def _from_url(arguments: argparse.Namespace, asked: dict[str, str]) -> Iterator[bytes]:
    headers = {"Accept": "application/cloudevents-batch+json"}
    if arguments.password_file is not None:
        try:
            password = arguments.password_file.read_text(encoding="utf-8").split("\n", 1)[0]
        except (OSError, UnicodeDecodeError) as error:
            raise BridgeError(f"password-file: {arguments.password_file} can't be read: {error}") from error
        log.hide(password)
        headers["Authorization"] = "Basic " + base64.b64encode(f"history:{password}".encode()).decode()
    if not arguments.url.startswith(("http://", "https://")):
        raise BridgeError(f"url: given {log.mask_value(arguments.url)!r}; accepted: http[s]://host[:port]/")
    path = "events" if arguments.all else "migrations"
    query = urlencode(asked | {"limit": str(PAGE), "order": "oldest"})
    url = urljoin(arguments.url.rstrip("/") + "/", f"api/v1/{path}?{query}")
    try:
        context = ssl.create_default_context(cafile=arguments.ca_file) if url.startswith("https") else None
        while True:
            with urlopen(Request(url, headers=headers), context=context) as answer:  # noqa: S310 - see above
                for message in json.load(answer):
                    yield json.dumps(message).encode()
                following = _NEXT.search(answer.headers.get("Link", ""))
            if following is None:
                return
            url = urljoin(url, following[1])
    except HTTPError as error:
        with error:
            said = error.read(2000).decode("utf-8", "replace")
        raise BridgeError(f"{log.mask(arguments.url)} answers {error.code}: {said.strip()}") from error
    except (URLError, OSError, ValueError) as error:
        raise BridgeError(f"{log.mask(arguments.url)} can't be asked: {error}") from error
