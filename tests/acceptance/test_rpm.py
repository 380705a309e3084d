"""The RPM spec file, as far as Debian's rpmbuild and rpmlint go."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge import __version__
from tests.tools.packages import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.slow]

SPEC: Final = ROOT / "docker" / "rpm" / "libvirt-mqtt.spec"
MACROS: Final = """\
%_unitdir /usr/lib/systemd/system
%_sysusersdir /usr/lib/sysusers.d
%_tmpfilesdir /usr/lib/tmpfiles.d
%sysusers_create_compat() :
%tmpfiles_create() :
%systemd_post() :
%systemd_preun() :
%systemd_postun_with_restart() :
"""
"""Fedora's, which Debian's rpm doesn't have."""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages for Fedora, by their names."""
    top = tmp_path_factory.mktemp("rpm")
    (top / "SOURCES").mkdir()
    (top / "macros").write_text(MACROS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    name = f"libvirt_mqtt-{__version__}"
    with tarfile.open(top / "SOURCES" / f"{name}.tar.gz", "w:gz") as archive:
        for each in (*shipped, "/README.md", "/LICENSE"):
            archive.add(f"{ROOT}{each}", f"{name}{each}")
    run(
        *("rpmbuild", "-bb", "--quiet", "--nodeps", "--load", top / "macros", "--define", f"_topdir {top}"),
        *("--define", f"builder {sys.executable}", SPEC),
    )
    files = (top / "RPMS").rglob("*.rpm")
    return {file.name.removeprefix("libvirt-mqtt-").partition("-")[0]: file for file in files}


def test_rpmlint_finds_no_error(built: dict[str, Path]) -> None:
    assert set(built) == {"common", "agent", "correlator", "dashboard", "hook"}
    assert " 0 errors" in run("rpmlint", "-c", SPEC.with_name("rpmlint.toml"), SPEC, *built.values())


def test_they_need_what_the_project_needs(built: dict[str, Path]) -> None:
    """Within the same bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for package, tag, needed in (
        ("common", "--requires", project["dependencies"]),
        ("agent", "--requires", extras["agent"]),
        ("dashboard", "--requires", extras["dashboard"]),
        ("correlator", "--recommends", extras["postgresql"]),
        ("dashboard", "--recommends", extras["postgresql"]),
        ("hook", "--recommends", extras["postgresql"]),
    ):
        required = set(
            re.findall(r"python3dist\(([\w-]+)\) (\S+) ([\d.]+)", run("rpm", "-qp", tag, built[package]))
        )
        assert required == {
            (canonicalize_name(requirement.name), bound.operator, bound.version)
            for requirement in map(Requirement, needed)
            for bound in requirement.specifier
        }


def test_nothing_is_started_by_them(built: dict[str, Path]) -> None:
    for name in ("agent", "correlator", "dashboard", "hook"):
        scripts = run("rpm", "-qp", "--scripts", built[name])
        assert "Set broker in /etc/libvirt-mqtt/libvirt-mqtt.toml" in scripts
        assert f"systemctl enable --now libvirt-mqtt-{name}'" in scripts
        assert f"/usr/bin/libvirt-mqtt {name}" in run(
            "bash", "-c", f"rpm2cpio {built[name]} | cpio -i --to-stdout --quiet './usr/lib/systemd/*'"
        )


def test_enterprise_linux_brings_its_own_environment() -> None:
    """As far as the spec file says so: it is built there only."""
    asked = ("rpmspec", "-q", "--define", "rhel 10", "--define", "_unitdir /x", SPEC)
    assert "python3dist" not in run(*asked, "--requires")
    assert "python3.12" in run(*asked, "--requires")
    assert "wheels.tar.gz" in run("rpmspec", "-P", "--define", "rhel 10", SPEC)
