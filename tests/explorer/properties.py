"""What must hold of everything that is published, whatever went wrong on the way.

Of each attempt the last verdict counts for truth, and of each domain the last location.

Once
    Ids are used once; `started` comes once, and before the verdict; a revision is one higher, names what
    it replaces and changes something. An attempt has one migration with verdicts and no other. Without
    any trouble nothing is revised, but where the evidence itself takes longer than `settle`
    (`Truth.slow`, and the Will of a host that is lost).
Order
    Where all that agents said came in the end, however late, doubled or out of turn, and by whatever
    clock, the last verdict of each attempt is the true one in all columns, and so is the location.
Honesty
    Where something was never seen, or is lost for good (`Observed.hidden`): outcome, mode, attention,
    source and destination are true or null (the mode may be `precopy` where no sign of a post-copy was
    seen); the reason is one of those that truly apply; the guest is where and as it was at the attempt's
    end, or at a moment after it, or `unknown`; `confirmed_by` names no side that said nothing of the
    attempt; of two that both run, completed may be told while nothing of the source's resuming was heard,
    failed while nothing of the arrival was, and a conflict until its end was, or where the source's was only
    found. What a side saw
    conclusively, as it happened, is told: there is a verdict, it names that side's host, and that side
    confirms it if it does where all is seen; but while messages of a host are known to be missing, or of
    two that both ran one is blind, or was, that is told instead. Conclusive is, of the source:
    stopped/migrated; resumed/migrated after suspended/migrated; its own end before the switch-over, once
    the destination was prepared; job_failed. Of the destination: that it was prepared, and then resumed,
    or paused, or ended. The location is where the guest is active if that host is heard at last; else
    that, or none, or any before.
Nothing
    No verdict, and no conflict, of what was no attempt; none where Prepare failed, and none of a
    post-copy that stays broken.
Retained
    `last` is a verdict as it was published, and its newest revision; what is `current` isn't decided.
Read
    No message of an agent is put aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.explorer.agent import Message, host_name
from tests.explorer.observer import FOREVER, Observed
from tests.explorer.path import TIMES
from tests.explorer.play import Played, PlayedMessage
from tests.explorer.world import History, Step, Truth

VERDICTS: Final = ("completed", "failed", "conflict")


class Fault(NamedTuple):
    """One thing that is wrong. kind: the property and the column, for counting; why: what was told, what is
    true.
    """

    kind: str
    why: str


@dataclass(slots=True)
class Attempted:
    """What came to the correlator of one attempt. live: (side, event) as they happened; spoke: sides that
    said anything of it; has_begun: whether either showed more than that a job is gone, which may be one of a
    migration that wasn't prepared.
    """

    live: set[tuple[str, tuple[int, int]]] = field(default_factory=set)
    spoke: set[str] = field(default_factory=set)
    has_begun: bool = False
    job_failed: bool = False
    source_is_over: bool = False
    source_ran: bool = False
    may_have_ended: bool = False
    may_have_crashed: bool = False
    """The source's guest was found crashed, later or then: as where its host is lost and comes back."""
    source_was_found_ended: bool = False


def wrong_with(seen: Observed, played: Played) -> list[Fault]:
    """All that is wrong with what was published."""
    history = seen.history
    faults = list(_contract(played.published))
    if played.rejected:
        faults.append(Fault("read", f"{played.rejected} messages put aside"))
    came = _came(seen, played)
    owners = _owners(history, came)
    heard = _heard(seen, came)
    verdicts: dict[int, dict[str, list[PlayedMessage]]] = {}
    for migration, published in _by_migration(played.published).items():
        given = [one for one in published if one.word in VERDICTS]
        if not given:
            continue
        owner = _began(history, published[0], owners)
        if owner is None:
            owner = _owner(history, given[-1], owners)
        is_of_an_offline_one = owner is not None and history.attempts[owner].mode == "offline"
        if not is_of_an_offline_one and _is_copied_by_hand(seen, given[-1]):
            continue
        if owner is None:
            faults.append(Fault("nothing: a verdict of no attempt", columns(given[-1])))
        else:
            verdicts.setdefault(owner, {})[migration] = given
    of_each = [
        list(_attempt(seen, n, truth, verdicts.get(n, {}), heard[n], missing=_missing(played.published)))
        for n, truth in enumerate(history.attempts)
    ]
    if len(history.attempts) == 2 and _may_be_one(seen, came):
        told = {**verdicts.get(0, {}), **verdicts.get(1, {})}
        if len(told) == 1:
            one, other = (
                list(_attempt(seen, n, truth, told, heard[n], missing=set()))
                for n, truth in enumerate(history.attempts)
            )
            kinds = {fault.kind for fault in one} & {fault.kind for fault in other}
            of_each = [[fault for fault in one if fault.kind in kinds]]
    faults += [fault for found in of_each for fault in found]
    faults += _conflicts(seen, played.published)
    faults += _place(seen, played.published)
    faults += _retained(played)
    return faults


def columns(published: PlayedMessage) -> str:
    """What a verdict says, in a line."""
    data = published.data
    assert data is not None
    guest = data["guest"]
    said = f"{data['outcome']} {_letter(data['source']['host'])}→{_letter(data['destination']['host'])}"
    said += f" guest {_letter(guest['host'])} {guest['state']}, {data['mode']}"
    said += f", by {'+'.join(data['confirmed_by']) or 'nobody'}"
    return said + "".join(f", {data[name]}" for name in ("reason", "attention") if data[name])


def true_columns(truth: Truth) -> str:
    """What is true of an attempt, as `columns` has it."""
    said = f"{truth.outcome} {truth.source}→{truth.destination}"
    said += f" guest {truth.guest[0]} {truth.guest[1]}, {truth.mode}"
    said += f", by {'+'.join(s for s in ('source', 'destination') if s in truth.confirmed) or 'nobody'}"
    return said + "".join(f", {one}" for one in (truth.reason, truth.attention) if one)


def _letter(host: str | None) -> str | None:
    return None if host is None else host[-1].upper()


def _is_copied_by_hand(seen: Observed, published: PlayedMessage) -> bool:
    """A definition that goes from one host unseen and is on another looks like an offline migration."""
    return bool(seen.hidden) and published.data is not None and published.data["mode"] == "offline"


# What came, and of what


def _came(seen: Observed, played: Played) -> list[Message]:
    return [one.message for one in seen.deliveries] + played.replayed


def _owners(history: History, came: Sequence[Message]) -> dict[str, Counter[int]]:
    """The attempts that each message may be about, by its id; those of one step count for more."""
    owners: dict[str, Counter[int]] = {}
    for message in came:
        if message.id:
            weight = 10 if len(message.steps) == 1 else 1
            found = {history.steps[n].attempt for n in message.steps} - {None}
            owners[message.id] = Counter({n: weight for n in found if n is not None})
    return owners


def _heard(seen: Observed, came: Sequence[Message]) -> list[Attempted]:
    history = seen.history
    heard = [Attempted() for _ in history.attempts]
    for message in came:
        is_of_one = len({history.steps[n].attempt for n in message.steps}) == 1
        for n in message.steps:
            step = history.steps[n]
            if step.attempt is None:
                continue
            truth, it = history.attempts[step.attempt], heard[step.attempt]
            side = "source" if step.host == truth.source else "destination"
            it.spoke.add(side)
            if message.kind == "event" and message.origin == "event" and step.kind == "event":
                it.live.add((side, step.args))  # type: ignore[arg-type]
            if message.origin == "poll" and message.kind == "event":
                it.job_failed = it.job_failed or is_of_one
            elif message.kind == "event":
                it.has_begun = it.has_begun or is_of_one  # what was found of two shows the last one's end
    unheard = seen.unseen_at_last | history.unreachable
    for n, (truth, it) in enumerate(zip(history.attempts, heard, strict=True)):
        it.source_is_over = truth.source in unheard or truth.source not in history.active
        it.source_ran = _showed_running(history, came, n, truth)
        ended_there = any(side == "destination" and code[0] == 5 for side, code in it.live)
        later = [step for step in history.steps if step.host == truth.source and step.attempt != n]
        it.may_have_ended = not ended_there and any(step.args[:1] == (5,) for step in later)
        crashes = {m for m, step in enumerate(history.steps) if step in later and step.args == (5, 5)}
        of_source = [m for m, step in enumerate(history.steps) if step.host == truth.source]
        ends = {m for m in of_source if history.steps[m].args[:1] == (5,)}
        it.source_was_found_ended = any(ends & {*one.steps} and one.origin == "resync" for one in came)
        it.may_have_crashed = any(
            crashes & {*message.steps} and message.origin == "resync" for message in came
        )
    return heard


def _showed_running(history: History, came: Sequence[Message], n: int, truth: Truth) -> bool:
    """Whether the source showed its guest running while it ran at the destination, too: afterwards somebody
    may have resumed one that was left paused.
    """
    there = [step for step in history.steps if step.attempt == n and step.host == truth.destination]
    begins = next((step.t for step in there if step.args == (4, 1)), FOREVER)
    ends = there[-1].t if there and there[-1].args[:1] == (5,) else FOREVER
    of_source = f"/{host_name(truth.source or '')}/"
    return any(
        (message.kind == "state" and b'"state":"running"' in message.payload)
        or (message.origin == "event" and any(history.steps[m].args == (3, 1) for m in message.steps))
        for message in came
        if begins <= message.t < ends and of_source in message.topic
    )


def _may_be_one(seen: Observed, came: Sequence[Message]) -> bool:
    """Whether two attempts may as well be one, by all that came: they have the same hosts, neither side
    showed more than one of them as it happened, and what both showed overlaps in time; one that can't see
    at last may have had more to show.
    """
    history = seen.history
    one, other = history.attempts
    if (one.source, one.destination) != (other.source, other.destination) or not seen.hidden:
        return False
    spans = []
    for host in (one.source, one.destination):
        of_it = [
            (message, step)
            for message in came
            for step in (history.steps[n] for n in message.steps)
            if step.host == host and step.attempt is not None and message.kind == "event"
        ]
        live = {step.attempt for message, step in of_it if message.origin in ("event", "poll")}
        if len(live) > 1:
            return False
        if of_it:
            times = [message.t for message, _ in of_it]
            spans.append((min(times), FOREVER if host in seen.unseen_at_last else max(times)))
    return max(begins for begins, _ in spans) <= min(ends for _, ends in spans) if spans else False


def _by_migration(published: Sequence[PlayedMessage]) -> dict[str, list[PlayedMessage]]:
    found: dict[str, list[PlayedMessage]] = {}
    for one in published:
        if one.data is not None and one.data.get("migration") and one.word != "location":
            found.setdefault(one.data["migration"], []).append(one)
    return found


def _began(history: History, published: PlayedMessage, owners: dict[str, Counter[int]]) -> int | None:
    """The attempt to that host whose beginning was told; of several that were found at once, the newest."""
    if published.word != "started" or published.data is None:
        return None
    to = _letter(published.data["destination"]["host"])
    found = owners.get(published.data["evidence"][0]["id"], ())
    return max((n for n in found if history.attempts[n].destination == to), default=None)


def _owner(history: History, published: PlayedMessage, owners: dict[str, Counter[int]]) -> int | None:
    assert published.data is not None
    votes: Counter[int] = Counter()
    for evidence in published.data["evidence"]:
        votes += owners.get(evidence["id"], Counter())
    if not votes:
        return None
    hosts = (_letter(published.data["source"]["host"]), _letter(published.data["destination"]["host"]))

    def fits(n: int) -> int:
        truth = history.attempts[n]
        return sum(said == true for said, true in zip(hosts, (truth.source, truth.destination), strict=True))

    return max(votes, key=lambda n: (fits(n), votes[n], n))


# The rules


def _contract(published: Sequence[PlayedMessage]) -> Iterator[Fault]:
    ids = Counter(one.id for one in published if one.data is not None)
    if max(ids.values(), default=1) > 1:
        yield Fault("once: an id twice", str(ids.most_common(1)[0][0]))
    for messages in _by_migration(published).values():
        last: PlayedMessage | None = None
        started = 0
        for one in messages:
            data = one.data
            assert data is not None
            if one.word == "started":
                started += 1
                if started > 1 or last is not None:
                    yield Fault("once: started twice or late", one.id)
            if one.word not in VERDICTS:
                continue
            before = None if last is None else last.data
            wanted = (0, None) if before is None or last is None else (before["revision"] + 1, last.id)
            if (data["revision"], data["supersedes"]) != wanted:
                yield Fault("once: revision", f"{data['revision']} {data['supersedes']}, not {wanted}")
            if before is not None and {**before, **_VARY} == {**data, **_VARY}:
                yield Fault("once: a revision that changes nothing", columns(one))
            last = one


_VARY: Final[dict[str, Any]] = dict.fromkeys(("revision", "supersedes", "evidence", "ended_at", "started_at"))


def _attempt(
    seen: Observed,
    n: int,
    truth: Truth,
    verdicts: dict[str, list[PlayedMessage]],
    heard: Attempted,
    *,
    missing: set[str],
) -> Iterator[Fault]:
    published = sorted(verdicts.values(), key=lambda given: given[-1].t)
    if truth.outcome is None:
        if published:
            yield Fault("nothing: a verdict where there is none", columns(published[-1][-1]))
        return
    if len(published) > 1:
        yield Fault(
            "once: told twice",
            "; ".join(columns(given[-1]) for given in published) + f"; true: {true_columns(truth)}",
        )
        return
    conclusive = _conclusive(truth, heard)
    whole = not seen.hidden
    if not published:
        is_unknown = "blind" in missing or heard.source_was_found_ended
        is_named = "gap" in missing or (truth.was_conflict and is_unknown)
        if (whole or conclusive) and not (truth.silent and not heard.job_failed) and not is_named:
            yield Fault("untold", f"true: {true_columns(truth)}")
        return
    last = published[0][-1]
    assert last.data is not None
    said_of = _said(last.data)
    guests = _guests(seen.history, n, truth)
    check = _whole if whole else _part
    for column, said, true in check(truth, said_of, heard, guests):
        yield Fault(
            f"false {column}", f"{said}, not {true}; told: {columns(last)}; true: {true_columns(truth)}"
        )
    if not seen.troubles and len(published[0]) > 1 and not (truth.slow or _is_lost(seen.history, n)):
        yield Fault("once: revised without need", "; ".join(columns(one) for one in published[0]))


def _is_lost(history: History, n: int) -> bool:
    """Whether a host was lost so soon that the Will comes after the verdict."""
    over = max(step.t for step in history.steps if step.attempt == n)
    return any(step.kind == "dark" and step.t <= over + TIMES.settle_s for step in history.steps)


def _missing(published: Sequence[PlayedMessage]) -> set[str]:
    """The codes of what the last message names as missing."""
    last = next((one.data for one in reversed(published) if one.data and one.word != "location"), None)
    return {one["code"] for one in (last or {}).get("missing") or ()}


Difference = tuple[str, object, object]


def _said(data: dict[str, Any]) -> dict[str, object]:
    return {
        "outcome": data["outcome"],
        "reason": data["reason"],
        "guest": (_letter(data["guest"]["host"]), data["guest"]["state"]),
        "mode": data["mode"],
        "attention": data["attention"],
        "source": _letter(data["source"]["host"]),
        "destination": _letter(data["destination"]["host"]),
        "confirmed_by": frozenset(data["confirmed_by"]),
    }


def _true(truth: Truth) -> dict[str, object]:
    return {
        "outcome": truth.outcome,
        "reason": truth.reason,
        "guest": truth.guest,
        "mode": truth.mode,
        "attention": truth.attention,
        "source": truth.source,
        "destination": truth.destination,
        "confirmed_by": truth.confirmed,
    }


Guests = set[tuple[str | None, str]]


def _is_true_of_guest(said: object, truth: Truth, guests: Guests) -> bool:
    """Whoever says that it isn't known how the guest fares may still name the host that had it."""
    assert isinstance(said, tuple)
    return said in guests or said[1] == truth.guest[1] == "unknown"


def _whole(truth: Truth, said: dict[str, object], heard: Attempted, guests: Guests) -> Iterator[Difference]:
    true = _true(truth)
    if truth.by_poll and not heard.job_failed:
        true["confirmed_by"] = truth.confirmed - {"source"}
    for column, value in said.items():
        if value == true[column] or value in truth.also.get(column, ()):
            continue
        if column == "guest" and value == (truth.source, "unknown") and heard.source_is_over:
            continue  # it may have been lost before that, unnoticed
        if column != "guest" or not _is_true_of_guest(value, truth, guests):
            yield column, value, true[column]


_FLOWS: Final = {
    ("source", (3, 7)),
    ("destination", (4, 3)),
    ("source", (3, 8)),
    ("destination", (4, 4)),
}
"""Signs of a post-copy."""


_ENDED: Final = {"source_crashed", "source_stopped"}


def _outcomes(truth: Truth, heard: Attempted) -> set[str | None]:
    """What may be told. Of two that both ran, it depends on what was heard of whom."""
    found: set[str | None] = {truth.outcome}
    if truth.was_conflict:
        live = heard.live
        if ("source", (4, 1)) not in live and (heard.source_is_over or not heard.source_ran):
            found.add("completed")
        if ("destination", (4, 1)) not in live:
            found.add("failed")
        is_over = heard.source_is_over or heard.source_was_found_ended
        if ("source", (5, 1)) not in live and (("destination", (5, 1)) not in live or is_over):
            found.add("conflict")  # the source may have ended first, unheard
    return found


def _part(truth: Truth, said: dict[str, object], heard: Attempted, guests: Guests) -> Iterator[Difference]:
    true, conclusive = _true(truth), _conclusive(truth, heard)
    if said["outcome"] not in _outcomes(truth, heard):
        yield "outcome", said["outcome"], truth.outcome
    if said["outcome"] != truth.outcome:
        return
    reasons = {None, truth.reason, *truth.reasons} | (_ENDED if heard.may_have_ended else set())
    reasons |= {"source_crashed"} if heard.may_have_crashed else set()
    if said["reason"] not in reasons:
        yield "reason", said["reason"], sorted(truth.reasons)
    guest = said["guest"]
    assert isinstance(guest, tuple)
    if guest[1] != "unknown" and guest not in guests:
        yield "guest", guest, truth.guest
    if said["mode"] not in (None, truth.mode) and (heard.live & _FLOWS or said["mode"] != "precopy"):
        yield "mode", said["mode"], truth.mode
    if said["attention"] not in (None, truth.attention):
        yield "attention", said["attention"], truth.attention
    for side in ("source", "destination"):
        if said[side] != true[side] and (said[side] is not None or side in conclusive):
            yield side, said[side], true[side]
    confirmed = said["confirmed_by"]
    assert isinstance(confirmed, frozenset)
    if confirmed - heard.spoke:
        yield "confirmed_by", sorted(confirmed), f"at most {sorted(heard.spoke)}"
    elif (conclusive & truth.confirmed) - confirmed:
        yield "confirmed_by", sorted(confirmed), f"at least {sorted(conclusive & truth.confirmed)}"


def _conclusive(truth: Truth, heard: Attempted) -> set[str]:
    """The sides that conclusively saw, as it happened, how the attempt ended."""
    live, found = heard.live, set()
    prepared = ("destination", (2, 1)) in live
    switched = {("source", (3, 1)), ("source", (3, 7))} & live
    source_ended = not switched and any(side == "source" and code[0] == 5 for side, code in live)
    if (
        ("source", (5, 3)) in live
        or {("source", (3, 1)), ("source", (4, 1))} <= live
        or (source_ended and prepared and truth.outcome == "failed")
        or (heard.job_failed and heard.has_begun and truth.outcome == "failed")
    ):
        found.add("source")
    if prepared and any(
        side == "destination" and (code[0] == 5 or code in ((4, 1), (3, 0))) for side, code in live
    ):
        found.add("destination")
    return found


def _guests(history: History, n: int, truth: Truth) -> set[tuple[str | None, str]]:
    """Where and how the guest was at the attempt's end, and at each moment after it."""
    found: set[tuple[str | None, str]] = {truth.guest}
    last = max(i for i, step in enumerate(history.steps) if step.attempt == n)
    there = dict(history.first)
    for i, step in enumerate(history.steps):
        there[step.host] = None if step.kind == "dark" else step.there
        if i >= last:
            if step.kind == "event" and step.args in ((5, 5), (5, 2)):
                found.add((None, "lost"))
            found |= {(host, _fares(it)) for host, it in there.items() if it is not None}
            if not any(it is not None and it.state != 5 for it in there.values()):
                found |= {(None, "shutoff")}
    return found


def _fares(it: Any) -> str:
    return {1: "running", 5: "shutoff"}.get(it.state, "paused")


def _conflicts(seen: Observed, published: Sequence[PlayedMessage]) -> Iterator[Fault]:
    history = seen.history
    alone = [
        one
        for one in published
        if one.word in ("conflict", "resolved") and one.data is not None and not one.data["migration"]
    ]
    if alone and alone[-1].word == "resolved" and seen.troubles:
        return
    both = _both_run(history.first, history.steps)
    if alone and not both:
        yield Fault("nothing: a conflict where there is none", columns(alone[-1]))
    if not history.attempts and both and not alone and not seen.unseen_at_last:
        yield Fault("untold conflict", "both run")


def _retained(played: Played) -> Iterator[Fault]:
    kept = {one.word: one for one in played.retained}
    verdicts = {one.id: one for one in played.published if one.word in ("completed", "failed")}
    conflicts = {one.id for one in played.published if one.word == "conflict"}
    newest = {one.data["migration"]: one for one in played.published if one.data and one.word in VERDICTS}
    last = kept.get("last")
    if (last is None) != (not verdicts) or (last and last.data != verdicts[last.id].data):
        yield Fault("retained: last", f"{last and last.id} of {list(verdicts)}")
    elif last and last.data and newest[last.data["migration"]].id not in (last.id, *conflicts):
        yield Fault("retained: last is revised", last.id)
    current = kept.get("current")
    data = current.data if current else None
    if data and (decided := newest.get(data["migration"])) and decided.id not in conflicts:
        yield Fault("retained: current is decided", decided.id)


def _both_run(first: dict[str, Any], steps: Sequence[Step]) -> bool:
    there = dict(first)
    for step in steps:
        there[step.host] = step.there
        if sum(it is not None and it.state == 1 for it in there.values()) > 1:
            return True
    return False


def _place(seen: Observed, published: Sequence[PlayedMessage]) -> Iterator[Fault]:
    history = seen.history
    said = [one.data for one in published if one.word == "location"]
    place = _letter(said[-1]["host"]) if said and said[-1] is not None else None
    if len(history.active) > 1:
        return
    unheard = history.unreachable | seen.unseen_at_last
    if history.active:
        (host,) = history.active
        if place == host or place in unheard or host in unheard:
            return
        yield Fault("false location", f"{place}, not {host}")
    elif place is not None and place not in history.defined | unheard:
        yield Fault("false location", f"{place}, not {sorted(history.defined) or None}")
