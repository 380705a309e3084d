"""The explorer's command; what it takes is in the package's docstring."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from time import monotonic

from tests.explorer import observer
from tests.explorer.explore import Bounds, Found, explore, of_one, quiet, worlds
from tests.explorer.play import play
from tests.explorer.properties import wrong_with
from tests.explorer.shrink import example
from tests.explorer.stories import STORIES
from tests.explorer.world import written


def main() -> int:
    options = _options()
    quiet()
    bounds = Bounds(
        stories=tuple(options.stories.split(",")),
        every=options.every,
        troubles_every=options.troubles_every,
        pairs_every=options.pairs_every,
        world=options.world,
        trouble=options.trouble,
    )
    if options.part:
        nth, of = map(int, options.part.split("/"))
        bounds = replace(bounds, first=bounds.first + nth * bounds.every, every=bounds.every * of)
    if options.replay:
        return _replay(bounds, options.replay)
    began = monotonic()
    found, said = Found(), began
    for found in explore(bounds, jobs=options.jobs, seconds=options.seconds):
        if monotonic() > said + 20:
            said = monotonic()
            print(
                f"… {found.tried} tried, {found.wrong} wrong, {said - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    _print(found, monotonic() - began, most=options.most, small=options.small)
    return 1 if found.wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.explorer", description=__doc__)
    parser.add_argument("--stories", default=",".join(STORIES), help="which stories of the world, by name")
    parser.add_argument("--world", default="", help="only world histories whose name or words hold this")
    parser.add_argument("--trouble", default="", help="only troubles whose name holds this")
    parser.add_argument("--every", type=int, default=1, help="of the world's histories one in so many")
    parser.add_argument("--troubles-every", type=int, default=1, help="of each one's troubles one in so many")
    parser.add_argument(
        "--pairs-every", type=int, default=0, help="and of its pairs of troubles one in so many"
    )
    parser.add_argument("--part", default="", help="3/8: the fourth of eight parts that add up to all")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument(
        "--replay", default="", help="one history by its index, with all that was sent and told"
    )
    parser.add_argument("--most", type=int, default=30, help="how many kinds of faults to print")
    parser.add_argument("--small", action="store_true", help="make an example of each kind small")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    return parser.parse_args()


def _print(found: Found, took_s: float, *, most: int, small: bool) -> None:
    rate = found.tried / took_s if took_s else 0.0
    print(
        f"{found.tried} histories tried of {found.worlds} of the world, {found.left_out} left out as equal, "
        f"{found.impossible} impossible; {found.wrong} wrong; {took_s:.0f} s, {rate:.0f} a second"
    )
    for kind, count in found.kinds.most_common(most):
        print(f"{count:7} {kind[0]} | {kind[1]} | {kind[2]}")
        first = found.examples[kind][0]
        print(f"        {first.number}: {first.why}")
        if small:
            number = int(first.number.split(".")[0])
            print(example(worlds(first.stories)[number], first.troubles, kind[2]))


def _replay(bounds: Bounds, index: str) -> int:
    number = int(index.split(".", maxsplit=1)[0])
    history = worlds(bounds.stories)[number]
    troubles = dict(of_one(observer.troubles(history).all, bounds, number))[index]
    seen = observer.observe(history, [trouble for trouble in troubles if trouble.kind != "none"])
    assert seen is not None
    played = play(seen)
    print(seen.history.name)
    print("happened:", written(seen.history.steps))
    print("trouble: ", " + ".join(map(str, troubles)))
    for truth in history.attempts:
        print("true:    ", truth)
    print("came:")
    for one in seen.deliveries:
        what = _what(one.message.kind, one.message.payload, one.message.sequence)
        print(f"  {one.at:9.2f} {one.host} {'retained ' if one.retained else ''}{what}")
    for when, until in seen.restarts:
        print(f"  {when:9.2f} correlator killed, back at {until:.2f}")
    print("told:")
    for published in played.published:
        data = {
            k: v
            for k, v in (published.data or {}).items()
            if k not in ("domain", "started_at", "ended_at", "duration_ms", "downtime_ms", "outcome") and v
        }
        print(f"  {published.t:9.2f} {published.word} {json.dumps(data)}")
    for fault in wrong_with(seen, played):
        print("wrong:   ", fault.kind, "|", fault.why)
    return 0


def _what(kind: str, payload: bytes, sequence: int) -> str:
    data = json.loads(payload)["data"] if payload else {}
    if kind == "event":
        detail = data.get("detail", data.get("params"))
        return f"{sequence}: {data['event']}/{detail} {'' if data['origin'] == 'event' else data['origin']}"
    if kind == "state":
        return f"   state {data['state']}/{data['reason']} as of {data['as_of']}"
    if kind == "status":
        sees = data["libvirt"] and data["libvirt"]["connected"]
        return f"   status {data['state']}, libvirt {sees}, last {data['last_sequence']}"
    return f"   {kind}"


if __name__ == "__main__":
    sys.exit(main())
