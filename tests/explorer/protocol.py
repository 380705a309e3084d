"""libvirt's migration protocol as choices: what an attempt may come to, and what is true of it then.

Begin, Prepare, Perform, Finish and Confirm each succeed, fail, hang or are cut off, and the guest may end by
itself at each step. Sources: `qemu_migration.c`, `libxl_migration.c`, and what was seen on real hosts
(`tests/unit/verdicts/rows.py`, `tests/data/traces`); a test holds both against this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bridge.wire.messages import GuestState, Reason
from tests.explorer.world import Impossible, Truth, World, is_active


def migrate(w: World, source: str, destination: str, kinds: Sequence[str]) -> Truth:
    """One attempt from Begin to its end, by the choices."""
    if not (w.is_well(source) or kinds == ("offline",)) or is_active(w.there[destination]):
        raise Impossible
    truth = Truth(source, destination)
    w.attempts.append(truth)
    w.attempt = len(w.attempts) - 1
    _KINDS[w.choose(*kinds)](w, truth)
    w.attempt = None
    return truth


def _say(w: World, truth: Truth, text: str) -> None:
    w.say(text, truth.source, truth.destination)


def _completed(w: World, truth: Truth, **columns: object) -> None:
    truth.outcome, truth.confirmed = "completed", frozenset({"source", "destination"})
    truth.guest = (truth.destination, w.state(truth.destination))
    _set(truth, columns)


def _failed(w: World, truth: Truth, reason: Reason, confirmed: str = "SD", **columns: object) -> None:
    """confirmed: `S`, `D`, as in the rows."""
    truth.outcome, truth.reason = "failed", reason
    truth.confirmed = frozenset(side for side in ("source", "destination") if side[0] in confirmed.lower())
    it = w.there[truth.source]
    if is_active(it):
        truth.guest = (truth.source, w.state(truth.source))
    _set(truth, columns)
    truth.reasons |= {reason, "source_job_ended", "source_resumed", "destination_vanished"}


def _set(truth: Truth, columns: Mapping[str, object]) -> None:
    for name, value in columns.items():
        setattr(truth, name, value)


def _prepare_fails(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job ~0.5 S:end")


def _arrive(
    w: World, truth: Truth, how: str = "(4,1)", *, definition: bool = False, undefine: bool = False
) -> None:
    """Finish succeeds; then Confirm, as it may go."""
    if definition:
        _say(w, truth, "D(0,1)" if w.is_persistent(truth.destination) else "D(0,0)")
    _say(w, truth, f"D{how}")
    confirms = (
        "confirmed",
        "confirm lost",
        "source's libvirtd killed",
        "source's libvirtd stopped",
        "answer lost",
        "source's host lost",
    )
    _CONFIRM[w.choose(*(confirms if how == "(4,1)" and not definition else confirms[:1]))](w, truth)
    if undefine:
        _say(w, truth, "S=gone")


def _confirmed(w: World, truth: Truth) -> None:
    _say(w, truth, "~1.4 S(5,3) S:JC")
    _completed(w, truth)


def _left_paused(w: World, truth: Truth, said: str) -> None:
    if said:
        _say(w, truth, said)
    _completed(w, truth, attention="source_left_paused", confirmed=frozenset({"destination"}))
    if w.choose("left", "destroyed later") == "destroyed later":
        w.attempt = None
        _say(w, truth, "~40 S(6,2) S(5,1)")


def _confirm_lost(w: World, truth: Truth) -> None:
    _say(w, truth, "S:end")
    _left_paused(w, truth, "")


def _source_killed(w: World, truth: Truth) -> None:
    _left_paused(w, truth, "S:blind S:end ~1.5 S:back")


def _source_stopped(w: World, truth: Truth) -> None:
    _say(w, truth, "S:blind ~1 S=shutoff/unknown ~1 S:back")
    _completed(w, truth)


def _answer_lost(w: World, truth: Truth) -> None:
    _say(w, truth, "S(4,1) S:end")
    truth.outcome, truth.guest, truth.was_conflict = "conflict", (None, "running"), True
    truth.confirmed = frozenset({"source", "destination"})
    end = w.choose("both run on", "source destroyed", "destination destroyed")
    if end == "both run on":
        return
    truth.slow = True
    w.attempt = len(w.attempts) - 1
    if end == "source destroyed":
        _say(w, truth, "~40 S(6,2) S(5,1)")
        _completed(w, truth)
    else:
        _say(w, truth, "~40 D(6,2) D(5,1)")
        _failed(w, truth, "destination_destroyed")


def _source_host_lost_at_last(w: World, truth: Truth) -> None:
    _say(w, truth, "S:dark")
    _completed(w, truth, confirmed=frozenset({"destination"}))
    if w.choose("for good", "found again") == "found again":
        _say(w, truth, "~90 S=shutoff/unknown S:back")
        truth.confirmed = frozenset({"source", "destination"})
        truth.slow = True


_CONFIRM: Final[dict[str, Callable[[World, Truth], None]]] = {
    "confirmed": _confirmed,
    "confirm lost": _confirm_lost,
    "source's libvirtd killed": _source_killed,
    "source's libvirtd stopped": _source_stopped,
    "answer lost": _answer_lost,
    "source's host lost": _source_host_lost_at_last,
}


def _finish_fails(w: World, truth: Truth) -> None:
    """Finish fails on the destination; the source resumes, if it can. Their order isn't given."""
    how = w.choose(
        "D(5,5) ~{} S(4,1) S:end",
        "S(4,1) S:end ~{} D(5,5)",
        "D(5,5) S(4,1) ~0.01 S(3,1) S:end",
        "D(5,5) S(3,6) S:end",
    )
    _say(w, truth, "~1.4 " + how.format(w.choose("0.2", "1.4") if "{}" in how else ""))
    stuck = "(3," in how
    _failed(w, truth, "destination_failed", attention="guest_left_paused" if stuck else None)


_OVER: Final[dict[str, tuple[str, Reason]]] = {
    "aborted": ("S:end D(5,5)", "destination_failed"),
    "aborted, destination first": ("D(5,5) S:end", "destination_failed"),
    "destination's QEMU dies": ("D(5,5)! S:end", "destination_failed"),
    "destination destroyed": ("D(6,2) D(5,1) S:end", "destination_destroyed"),
    "network cut": ("~8 D(6,2) D(5,1) ~1 S:end", "destination_destroyed"),
    "source's libvirtd killed": ("S:blind S:end D(5,5) ~1.5 S:back", "destination_failed"),
    "source's libvirtd killed, p2p": (
        "S:blind S:end D(6,2) D(5,1) ~1.5 S:back",
        "destination_destroyed",
    ),
}
"""How a copy ends that fails while the guest runs on: what is said, and the reason."""
_DOWN: Final[dict[str, tuple[str, Reason, GuestState]]] = {
    "guest powers off": ("S(6,1) S(5,0) D(5,5)", "source_stopped", "shutoff"),
    "source's QEMU crashes": ("S(5,5)! D(5,5)", "source_crashed", "lost"),
    "source destroyed": ("S(6,2) S(5,1) D(5,5)", "source_stopped", "shutoff"),
}
"""How the guest ends while it is copied."""


def _breaks_off(w: World, truth: Truth, *, seen: bool) -> None:
    """The copy ends before the switch-over. seen: an iteration was, so that the agent asks about the job."""
    how = w.choose(
        *_OVER, *_DOWN, "destination's host lost", "source's host lost", "destination's libvirtd killed"
    )
    if how in _OVER:
        said, reason = _OVER[how]
        _say(w, truth, said)
        _failed(w, truth, reason, by_poll=True)
    elif how in _DOWN:
        said, reason, state = _DOWN[how]
        persistent = w.is_persistent(truth.source)
        _say(w, truth, said)
        host = truth.source if state == "shutoff" and persistent else None
        _failed(w, truth, reason, guest=(host, state))
        truth.reasons |= {"destination_failed", "source_stopped", "source_crashed"}
    elif how == "destination's host lost":
        _say(w, truth, "D:dark S:end")
        _failed(w, truth, "source_job_ended", "S", by_poll=True, silent=not seen)
        if w.choose("for good", "found again") == "found again":
            _say(w, truth, "~60 D=shutoff/unknown D:back")
            _failed(w, truth, "destination_vanished", slow=True, silent=False)
    elif how == "source's host lost":
        _source_host_lost(w, truth)
    else:
        newer = w.releases[truth.destination] == "11.3"
        _say(
            w,
            truth,
            "D:blind S:end ~1.5 "
            + (
                "D:back D(6,2) D=shutdown/unknown ~1 D=shutoff/unknown"
                if newer
                else "D=shutoff/unknown D:back"
            ),
        )
        _failed(w, truth, "destination_vanished", by_poll=True, slow=newer)


def _source_host_lost(w: World, truth: Truth) -> None:
    _say(w, truth, "S:dark ~3 D(5,5)")
    _failed(w, truth, "destination_failed", "D", guest=(None, "unknown"))
    truth.reasons |= {"source_crashed"}
    if w.choose("for good", "found again") == "found again":
        persistent = w.is_persistent(truth.source)
        _say(w, truth, "~90 S=shutoff/crashed S:back")
        truth.slow = True
        both = frozenset({"source", "destination"})
        if persistent:
            _set(truth, {"reason": "source_crashed", "guest": (None, "lost"), "confirmed": both})
        else:
            truth.also = {"reason": ("source_crashed",), "guest": ((None, "lost"),), "confirmed_by": (both,)}


def _live(w: World, truth: Truth) -> None:
    """Prepare, then a copy, with the switch-over at its end."""
    _say(w, truth, "S:job D(2,1)")
    if w.choose("copies", "breaks off at once") == "breaks off at once":
        _breaks_off(w, truth, seen=False)
        return
    _say(w, truth, "S:iter S:iter")
    if w.choose("switches", "breaks off") == "breaks off":
        _say(w, truth, w.choose("", "~2 S:iter"))
        _breaks_off(w, truth, seen=True)
        return
    _say(w, truth, "S(3,1) S:iter")
    if w.choose("finishes", "finish fails") == "finish fails":
        _finish_fails(w, truth)
    else:
        _arrive(w, truth)


def _plain(
    said: str, how: str = "(4,1)", *, definition: bool = False, undefine: bool = False
) -> Callable[[World, Truth], None]:
    def play(w: World, truth: Truth) -> None:
        if undefine and not w.is_persistent(truth.source):
            raise Impossible
        _say(w, truth, said)
        _arrive(w, truth, how, definition=definition, undefine=undefine)

    return play


def _suspended_at_first(play: Callable[[World, Truth], None]) -> Callable[[World, Truth], None]:
    def paused(w: World, truth: Truth) -> None:
        attempt, w.attempt = w.attempt, None
        _say(w, truth, "S(3,0) ~3")
        w.t += 3.0
        w.attempt = attempt
        play(w, truth)

    return paused


def _renamed(w: World, truth: Truth) -> None:
    """`--dname`: another name on the destination."""
    w.arrives_as = "web01-moved"
    _say(w, truth, _SWITCHED)
    _arrive(w, truth)


def _non_live(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1) S(3,1) S:iter S:iter")
    how = w.choose("finishes", "aborted", "aborted, destination first")
    if how == "finishes":
        _arrive(w, truth)
        return
    _say(w, truth, "~2 S(4,1) S:end ~1.4 D(5,5)" if how == "aborted" else "~2 D(5,5) ~1.4 S(4,1) S:end")
    _failed(w, truth, "destination_failed")


def _paused_copy(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1) S:iter S:iter")
    if w.choose("finishes", "aborted") == "finishes":
        _say(w, truth, "D(3,0) ~1.4 S(5,3) S:JC")
        _completed(w, truth)
    else:
        _say(w, truth, "~2 S:end D(5,5)")
        _failed(w, truth, "destination_failed")


def _suspended_meanwhile(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1) S:iter ~2 S(3,1) ~4 S:iter S:iter")
    if w.choose("finishes", "aborted") == "finishes":
        _say(w, truth, "D(4,1) ~1.9 S(5,3) S:JC")
        _completed(w, truth)
    else:
        _say(w, truth, "S(4,1) S:end D(5,5)")
        _failed(w, truth, "destination_failed")


def _postcopy(w: World, truth: Truth) -> None:
    """The guest runs on the destination before its memory is there."""
    truth.mode = "postcopy"
    _say(w, truth, "S:job D(2,1) S:iter ~1 S(3,1) S(3,7) S:iter D(4,3)")
    how = w.choose(
        "completes",
        "source's libvirtd killed",
        "destination's libvirtd killed",
        "breaks",
        "source's QEMU dies",
        "destination's QEMU dies",
    )
    if how == "completes":
        _say(w, truth, "~5 D(4,1) ~1.2 S(5,3) S:JC")
    elif how == "source's libvirtd killed":
        _say(w, truth, "~1 S:blind ~3 S:back ~4 D(4,1) ~1.8 S(5,3) S:JC")
    elif how == "destination's libvirtd killed":
        _say(w, truth, "~1 D:blind ~3 D:back ~4 D(4,1) ~1.8 S(5,3) S:JC")
    elif how == "breaks":
        _postcopy_breaks(w, truth)
        return
    elif how == "source's QEMU dies":
        truth.interrupted = True
        _say(
            w, truth, w.choose("~1 D(4,4) ~1.4 S(3,8) S(5,5)!", "~1 D(4,4) ~0.4 S(5,5)!", "~1 S(5,5)! D(4,4)")
        )
        _pages_lost(w, truth)
        return
    else:
        _say(w, truth, w.choose("~1 S(3,8) D(5,5)!", "~1 D(5,5)! S(3,8)"))
        truth.interrupted = True
        _postcopy_failed(w, truth, "postcopy_failed", "D")
        return
    _completed(w, truth)


def _postcopy_breaks(w: World, truth: Truth) -> None:
    truth.interrupted = True
    _say(w, truth, "~1 " + w.choose("S(3,8) D(4,4)", "D(4,4) S(3,8)", "S(3,8)", "D(4,4)"))
    how = w.choose(
        "resumed",
        "resumed, destination first",
        "by itself",
        "stays so",
        "source destroyed",
        "destination destroyed",
    )
    if how == "stays so":
        return
    if how == "source destroyed":
        _say(w, truth, "~20 S(6,2) S(5,1)")
        _pages_lost(w, truth, "source_stopped")
    elif how == "destination destroyed":
        _say(w, truth, "~20 D(6,2) D(5,1)")
        _postcopy_failed(w, truth, "postcopy_failed", "D")
    else:
        again = {
            "resumed": "~15 S(3,7) D(4,3) ~6",
            "resumed, destination first": "~15 D(4,3) S(3,7) ~6",
            "by itself": "~12",
        }
        _say(w, truth, again[how] + " D(4,1) ~1.7 S(5,3) S:JC")
        _completed(w, truth)


def _pages_lost(w: World, truth: Truth, reason: Reason = "source_crashed") -> None:
    _failed(w, truth, reason, "S", guest=(None, "lost"), attention="postcopy_incomplete")
    truth.reasons |= {"source_crashed", "source_stopped", "postcopy_failed"}


def _postcopy_failed(w: World, truth: Truth, reason: Reason, confirmed: str) -> None:
    _failed(w, truth, reason, confirmed, guest=(None, "lost"))
    truth.reasons |= {"postcopy_failed"}


def _storage(w: World, truth: Truth) -> None:
    _say(w, truth, "S:job D(2,1)")
    w.t += 19.0
    if w.choose("copies", "breaks off") == "breaks off":
        _breaks_off(w, truth, seen=False)
        return
    _say(w, truth, "S:iter S:iter S(3,1) S:iter")
    _arrive(w, truth)


def _offline(w: World, truth: Truth) -> None:
    """Of a guest that is shut off; its definition moves, and takes itself away at the source or not."""
    if not w.is_persistent(truth.source):
        raise Impossible
    if w.at is not None:
        attempt, w.attempt = w.attempt, None
        _say(w, truth, w.choose("S(6,1) S(5,0)", "S(6,2) S(5,1)"))
        w.t += 20.0
        w.attempt = attempt
    if w.choose("undefines its source", "keeps its source") == "keeps its source":
        _say(w, truth, "D(0,0)")
        return
    _say(w, truth, "D(0,0) ~0.1 S=gone")
    truth.mode = "offline"
    truth.outcome, truth.guest, truth.slow = "completed", (truth.destination, "shutoff"), True
    truth.confirmed = frozenset({"source", "destination"})


def _xen(w: World, truth: Truth) -> None:
    how = w.choose("D(2,2) ~1 D(4,1) D(0,0) S(5,3)", "D(2,2) ~1 D(4,0) S(5,3)")
    _say(w, truth, how)
    _completed(w, truth)


def _xen_paused(w: World, truth: Truth) -> None:
    _say(w, truth, "D(2,2) ~1 D(3,0) S(5,3)")
    _completed(w, truth)


_SWITCHED: Final = "S:job D(2,1) S:iter S:iter S(3,1) S:iter"
_KINDS: Final[dict[str, Callable[[World, Truth], None]]] = {
    "prepare fails": _prepare_fails,
    "live": _live,
    "non-live": _non_live,
    "suspend": _plain(_SWITCHED, "(3,0)"),
    "paused before": _suspended_at_first(_paused_copy),
    "persistent": _plain(_SWITCHED, definition=True),
    "undefinesource": _plain(_SWITCHED, definition=True, undefine=True),
    "dname": _renamed,
    "storage": _storage,
    "suspended meanwhile": _suspended_meanwhile,
    "post-copy": _postcopy,
    "offline": _offline,
    "xen": _xen,
    "xen, paused": _suspended_at_first(_xen_paused),
}
QEMU_KINDS: Final = tuple(kind for kind in _KINDS if "xen" not in kind)
XEN_KINDS: Final = tuple(kind for kind in _KINDS if "xen" in kind)
