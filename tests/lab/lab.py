"""The lab: several hosts brought up together and taken away without a trace."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import install, process
from tests.lab.host import Host
from tests.lab.namespaces import NETWORK, Switch
from tests.support.roots import Unavailable

PREFIX = "libvirt-mqtt-lab-"


class Lab:
    """`hosts` libvirt hosts (host1, host2, …) that see each other and nothing else; a context manager.

    `releases` gives hosts another Debian release than the machine's own, as `{"host2": "trixie"}`; its root
    is made on first use (a minute). `root_dir` is where the hosts' folders are put, by default a temporary
    folder, removed at the end. Any number of labs can be up at once. Raises `Unavailable` where a
    lab can't be.
    """

    def __init__(
        self, hosts: int = 2, root_dir: Path | None = None, releases: Mapping[str, str] | None = None
    ) -> None:
        self.count = hosts
        self.releases = dict(releases or {})
        self._given_folder = root_dir
        self.folder = Path()
        self.hosts: list[Host] = []
        self._switch: Switch | None = None
        self._record: Path | None = None

    def __enter__(self) -> Self:
        lacking = install.missing()
        if lacking:
            raise Unavailable(lacking)
        clean_up()
        roots = {name: install.release_root(release) for name, release in self.releases.items()}
        self._make_folder()
        try:
            self._switch = Switch()
            for index in range(1, self.count + 1):
                root = roots.get(f"host{index}")
                host = Host(self._switch, self.folder, index=index, root=root)
                self.hosts.append(host)
                host.begin_libvirtd()
            with ThreadPoolExecutor(self.count) as pool:
                list(pool.map(Host.wait_ready, self.hosts))
                # QEMU is asked for its capabilities on first need, which takes a second: have that done.
                list(pool.map(lambda host: host.virsh("domcapabilities"), self.hosts))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    @property
    def shared(self) -> Path:
        """The folder that all hosts see under `host.SHARED_FOLDER`, as shared storage."""
        return self.folder / "shared"

    def stop(self) -> None:
        """Take everything away; harmless when done twice."""
        if self._switch is not None:
            self._switch.stop()
            self._switch = None
        for host in self.hosts:
            host.forget()
            shutil.rmtree(host.folder, ignore_errors=True)
        self.hosts = []
        if self._record is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._record.unlink(missing_ok=True)
            self._record = None

    def _make_folder(self) -> None:
        if self._given_folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        else:
            self.folder = self._given_folder
            self.folder.mkdir(parents=True, exist_ok=True)
        pid, start_ticks = process.own_identity()
        record = Path(tempfile.gettempdir()) / f"{PREFIX}{pid}-{self.folder.name}.json"
        record.write_text(json.dumps({"pid": pid, "start": start_ticks, "folder": str(self.folder)}))
        self._record = record
        self.shared.mkdir()
        names = [f"{NETWORK}.{index} host{index}" for index in range(1, self.count + 1)]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))


def clean_up() -> list[Path]:
    """Remove the folders of labs whose process is dead; return which.

    Their processes, networks and mounts are gone already: the kernel ended them with the process.
    """
    removed = []
    for record in Path(tempfile.gettempdir()).glob(f"{PREFIX}*.json"):
        try:
            said = json.loads(record.read_text())
        except (OSError, ValueError):
            continue
        if process.started_at(said["pid"]) != said["start"]:
            folder = Path(said["folder"])
            shutil.rmtree(folder, ignore_errors=True)
            record.unlink(missing_ok=True)
            removed.append(folder)
    return removed
