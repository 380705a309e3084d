"""Log lines: their form, their level, and what is kept out of them."""

import json
import logging
import subprocess
import sys
from typing import get_args

import pytest

from bridge import log


def lines(code: str) -> list[str]:
    """What a process of its own logs: logging is set up for a process as a whole."""
    script = f"from bridge import log\nimport logging, threading, warnings\n{code}"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_without_a_terminal_each_line_is_json() -> None:
    (line,) = lines("log.configure(None, 'info'); log.get_logger().info('broker.connected', host='hü')")
    fields = json.loads(line)
    assert fields["time"].endswith("Z")
    assert {**fields, "time": ""} == {"event": "broker.connected", "level": "info", "time": "", "host": "hü"}


def test_text_is_for_a_person() -> None:
    (line,) = lines("log.configure('text', 'info'); log.get_logger().info('broker.connected', host='h')")
    assert "broker.connected" in line
    assert line.endswith("host=h")
    assert "\x1b" not in line


def test_what_is_less_serious_is_left_out() -> None:
    code = "log.configure('json', 'warning'); l = log.get_logger(); l.info('a'); l.warning('b')"
    assert [json.loads(line)["event"] for line in lines(code)] == ["b"]


def test_a_logger_made_before_the_configuration_follows_it() -> None:
    (line,) = lines("l = log.get_logger(); log.configure('json', 'info'); l.info('a')")
    assert json.loads(line)["event"] == "a"


def test_a_logger_that_was_used_follows_the_next_configuration() -> None:
    code = "l = log.get_logger(); l.info('a'); log.configure('json', 'warning'); l.info('b'); l.warning('c')"
    found = lines(f"log.configure('json', 'info'); {code}")
    assert [json.loads(line)["event"] for line in found] == ["a", "c"]


def test_lines_go_where_standard_error_is_now() -> None:
    code = (
        "import io, sys; real, sys.stderr = sys.stderr, io.StringIO(); log.configure('json', 'info')\n"
        "l = log.get_logger(); l.info('a'); sys.stderr.close(); sys.stderr = real; l.info('b')"
    )
    (line,) = lines(code)
    assert json.loads(line)["event"] == "b"


def test_a_line_that_can_t_be_written_is_left_out() -> None:
    code = (
        "import sys; real, sys.stderr = sys.stderr, open('/dev/full', 'w'); log.configure('json', 'info')\n"
        "l = log.get_logger(); l.info('a'); sys.stderr = real; l.info('b')"
    )
    assert [json.loads(line)["event"] for line in lines(code)] == ["b"]


def test_libraries_and_warnings_come_out_as_our_own_lines() -> None:
    code = (
        "log.configure('json', 'info'); logging.getLogger('paho').error('lost %s', 1); warnings.warn('odd')"
    )
    first, second = (json.loads(line) for line in lines(code))
    assert (first["event"], first["library"], first["text"]) == ("library.said", "paho", "lost 1")
    assert "odd" in second["text"]


def test_a_thread_that_dies_is_a_line_with_its_name() -> None:
    code = "log.configure(None, 'info'); threading.Thread(target=lambda: 1 / 0, name='outbox').start()"
    (line,) = lines(code)
    fields = json.loads(line)
    assert (fields["event"], fields["thread"]) == ("thread.died", "outbox")
    assert fields["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at mqtt://u:secret@h:1883 now", "at mqtt://u:***@h:1883 now"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?password=x&a=b", "postgresql://h/d?password=***&a=b"),
        ("mqtt://u@h:1883", "mqtt://u@h:1883"),
        ("mqtt://[::1]:1883, agent@host", "mqtt://[::1]:1883, agent@host"),
        ("nothing: here @ all", "nothing: here @ all"),
    ],
)
def test_passwords_in_urls_are_masked(text: str, masked: str) -> None:
    assert log.mask(text) == masked


def test_fields_are_masked_by_name_by_place_and_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_secrets", set())
    log.hide("geheim")
    log.hide("abc")
    event = {
        "event": "x",
        "password": "any",
        "password_file": "/etc/secret",
        "text": "it is geheim, abc",
        "deep": {"a": ["geheim"]},
        "number": 3,
    }
    assert log.mask_fields(None, "info", event) == {
        "event": "x",
        "password": "***",
        "password_file": "***",
        "text": "it is ***, abc",
        "deep": {"a": ["***"]},
        "number": 3,
    }


def test_a_secret_is_masked_in_a_traceback_too() -> None:
    code = """
secret = 'ge"heim'
log.configure('json', 'info')
log.hide(secret)
try:
    raise ValueError(secret)
except ValueError:
    log.get_logger().exception('failed')
"""
    (line,) = lines(code)
    assert json.loads(line)["exception"].endswith("ValueError: ***")


def test_our_levels_are_pythons() -> None:
    assert set(get_args(log.LogLevel)) < {name.lower() for name in logging.getLevelNamesMapping()}
