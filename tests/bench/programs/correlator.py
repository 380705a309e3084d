"""Ours: the correlator as it is, with its store on the disk."""

from __future__ import annotations

import sys
import threading
import time

from bridge import log
from bridge.config import PROGRAMS, CorrelatorSettings
from bridge.correlator.service import Correlator
from bridge.options import load
from tests.bench.programs import answers


def main(port: str, folder: str, *more: str) -> None:
    log.configure("json", "error")
    given: dict[str, object] = {"broker": f"mqtt://127.0.0.1:{port}", "state_dir": folder}
    given |= dict(word.split("=", 1) for word in more)
    correlator = Correlator(load(CorrelatorSettings, "correlator", given, {}, PROGRAMS).settings)
    thread = threading.Thread(target=correlator.run, name="correlator")
    thread.start()
    while not correlator.counters.broker_connected:
        time.sleep(0.01)
    time.sleep(0.3)
    for command, *numbers in answers.words():
        if command == "consume":
            until = correlator.counters.messages + int(numbers[0])
            cpu, own = time.process_time(), time.thread_time()
            while correlator.counters.messages < until:
                time.sleep(0.001)
            done = time.time()
            cpu = time.process_time() - cpu - (time.thread_time() - own)
            answers.say(done=done, cpu_us=cpu / int(numbers[0]) * 1e6)
        elif command == "count":
            answers.say(messages=correlator.counters.messages, cpu_s=time.process_time())
    correlator.ask_to_stop()
    thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
