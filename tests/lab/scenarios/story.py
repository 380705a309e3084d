"""What a scenario is: what is done, what each side's libvirt emits then, and what truly happened."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.lab import waiting
from tests.lab.stage import Stage

GONE = "gone"
RUNNING = "running (migrated)"
BOOTED = "running (booted)"
CANCELED = "running (migration canceled)"
QUIET_S = 0.25


@dataclass(frozen=True)
class Truth:
    """One thing that a subscriber has to be told, with hosts as the roles S, D, T; None is none.

    `reason` lists the acceptable ones: more than one only where it depends on which side is heard first.
    `guest` is the role of the host that has it and its state; None where nothing can be said. An `optional`
    one may be told or not.
    """

    outcome: str
    source: str | None = "S"
    destination: str | None = "D"
    mode: str = "precopy"
    reason: tuple[str, ...] = ()
    guest: tuple[str | None, str] | None = ("D", "running")
    attention: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Scenario:
    """A way in which a migration goes, with the numbers of its rows in the table of all of them.

    `emits` gives for each role the tokens that its libvirt emits, as a pattern: `iter*` any number of
    iterations, `x?` perhaps, `(a|b c)` either. An end may have "6,2" before it. `afterwards` is each role's
    state when the story is over, in virsh's words.
    """

    name: str
    rows: tuple[str, ...]
    act: Callable[[Stage], None]
    emits: Mapping[str, str]
    afterwards: Mapping[str, str | tuple[str, ...]]
    truths: tuple[Truth, ...]
    hosts: int = 2
    timeout_s: float = 30.0

    @property
    def published(self) -> str:
        """What is done, in a sentence."""
        return (self.act.__doc__ or "").strip()

    @property
    def confirmed_by_both(self) -> bool:
        """Whether each side emits that it went well."""
        return "5,3" in self.emits.get("S", "")

    def play(self, stage: Stage) -> None:
        """Do it, and return when each side has emitted what it should and then been quiet for a moment.

        Raises `AssertionError` when something else was emitted, or the guest isn't where it should be.
        """
        self.act(stage)
        waiting.until(
            lambda: not self.differences(stage) or None,
            what=lambda: f"{self.name}: {'; '.join(self.differences(stage))}",
            timeout_s=self.timeout_s,
        )
        time.sleep(QUIET_S)
        differences = self.differences(stage)
        assert not differences, f"{self.name}: {'; '.join(differences)}"

    def differences(self, stage: Stage) -> list[str]:
        """Where what was heard, and what the hosts have now, differ from the scenario."""
        found = []
        for role, pattern in self.emits.items():
            heard = stage.heard(role)
            if not matches(pattern, heard):
                found.append(f"{role} emitted [{' '.join(heard)}], expected [{pattern}]")
        for role, states in self.afterwards.items():
            wanted = (states,) if isinstance(states, str) else states
            is_now = stage.state(role) if not found else wanted[0]
            if is_now not in wanted:
                found.append(f"on {role} the guest is {is_now}, expected {' or '.join(wanted)}")
        return found


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *rows: str,
    emits: Mapping[str, str],
    afterwards: Mapping[str, str | tuple[str, ...]],
    truths: tuple[Truth, ...] | Truth = (),
    hosts: int = 2,
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Enter the function under its name among `SCENARIOS`."""

    def enter(act: Callable[[Stage], None]) -> Callable[[Stage], None]:
        name = act.__name__
        published = (truths,) if isinstance(truths, Truth) else truths
        SCENARIOS[name] = Scenario(name, rows, act, emits, afterwards, published, hosts)
        return act

    return enter


def matches(pattern: str, tokens: list[str]) -> bool:
    """Whether the tokens are what the pattern says."""
    words = re.findall(r"[\w,]+|[()|*+?]", pattern)
    # Each token is matched with a space after it.
    expression = "".join(word if word in "()|*+?" else f"(?:{_announced(word)} )" for word in words)
    return re.fullmatch(expression, "".join(f"{token} " for token in tokens)) is not None


def _announced(token: str) -> str:
    """An end that libvirtd brings about may be announced: libvirt 11.3 does so for each, 9.0 for a destroy.

    None is promised: QEMU's word is dropped when the guest is inactive by the time that it is handled
    (libvirt's `qemuProcessHandleShutdown`), as on a loaded host.
    """
    return f"(?:6,2 )?{token}" if token in {"5,1", "5,3", "5,4", "5,5"} else token
