"""`python -m tests.lab`: install what the lab needs, list and run scenarios, show one, clean up."""

import argparse
import json
import sys

from tests.lab import install
from tests.lab.lab import Lab, clean_up
from tests.lab.scenarios import SCENARIOS
from tests.lab.stage import Stage
from tests.lab.waiting import TimedOut
from tests.lab.witness import Witness
from tests.support.roots import Unavailable


def run(names: list[str], releases: dict[str, str]) -> int:
    """Play scenarios and print what each libvirtd emitted, a JSON line an event; 1 if one went otherwise."""
    status = 0
    with (
        Lab(max(SCENARIOS[name].hosts for name in names), releases=releases) as lab,
        Witness(lab.hosts) as ears,
    ):
        for name in names:
            stage = Stage(lab, ears, name)
            try:
                SCENARIOS[name].play(stage)
            except AssertionError as failure:
                print(f"{name}: {failure}", file=sys.stderr)
                status = 1
            for line in ears.since(stage.mark):
                print(json.dumps(line), flush=True)
            stage.clean()
    return status


def list_scenarios() -> int:
    """Print every scenario's name, rows and story."""
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:38} {','.join(scenario.rows):10} {scenario.published}")
    return 0


def main(arguments: list[str]) -> int:
    """Obey the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install the Debian packages that the lab needs")
    commands.add_parser("cleanup", help="remove what labs left whose process is dead")
    commands.add_parser("list", help="every scenario, with its rows in the table of migrations")
    commands.add_parser(
        "show", help="two hosts, a migration there and back, and what `libvirt-mqtt watch` prints"
    )
    running = commands.add_parser("run", help="play scenarios and print what each libvirtd emitted")
    running.add_argument("scenario", nargs="+", choices=[*SCENARIOS, "all"])
    running.add_argument("--release", action="append", default=[], metavar="HOST=RELEASE")
    asked = parser.parse_args(arguments)
    match asked.command:
        case "install":
            install.install()
            return 0
        case "cleanup":
            for folder in clean_up():
                print(f"removed {folder}")
            return 0
        case "list":
            return list_scenarios()
        case "show":
            from tests.lab.show import main as show

            return show()
        case _:
            names = list(SCENARIOS) if "all" in asked.scenario else asked.scenario
            return run(names, dict(each.split("=", 1) for each in asked.release))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Unavailable, TimedOut) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
