"""What runs on the lab's hosts: guests of 64 MiB that need no system."""

import socket
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import waiting
from tests.lab.host import FIRMWARE_FOLDER, SHARED_FOLDER, Host

# A machine type that every QEMU since 6.2 has, so that a guest can go from release to release and back.
MACHINE = "pc-i440fx-6.2"
PRIVATE_FOLDER = "/var/lib/libvirt"
DISK_BYTES = 16 << 20

XML = """\
<domain type='{hypervisor}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <loader readonly='yes' type='rom'>{firmware_folder}/{firmware}.rom</loader>
  </os>
  <features><acpi/><apic/></features>
  <on_crash>{on_crash}</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {disk}
    <controller type='usb' model='none'/>
    <serial type='unix'><source mode='bind' path='/run/{uuid}.serial'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""
DISK_XML = """\
<disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='{cache}'/>
      <source file='{path}'/>
      <target dev='vda' bus='virtio'/>
    </disk>"""


def hypervisor() -> str:
    """The domain type of this machine's guests: KVM where there is one, else QEMU's own emulation."""
    return "kvm" if Path("/dev/kvm").exists() else "qemu"


@dataclass(frozen=True)
class Guest:
    """A domain's definition, and what can be done to it on a host.

    A `busy` one writes to memory for ever, faster than a copy held to 1 MiB/s carries it, so that its
    migration goes on until something is done; the other just halts. `disk` is "none", "shared" (one image
    that all hosts see) or "private" (one in each host's own folder). Transient unless `persistent`.
    """

    name: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    busy: bool = False
    disk: str = "none"
    persistent: bool = False

    def xml(self) -> str:
        """The domain's XML."""
        disk = ""
        if self.disk != "none":
            disk = DISK_XML.format(path=self.disk_path, cache="none")
        return XML.format(
            hypervisor=hypervisor(),
            name=self.name,
            uuid=self.uuid,
            machine=MACHINE,
            firmware_folder=FIRMWARE_FOLDER,
            firmware="busy" if self.busy else "idle",
            on_crash="destroy",
            disk=disk,
        )

    @property
    def disk_path(self) -> str:
        """Where the image is, as a host sees it."""
        return f"{SHARED_FOLDER if self.disk == 'shared' else PRIVATE_FOLDER}/{self.uuid}.img"

    def disk_on(self, host: Host) -> Path:
        """Where the image is, as the machine sees it."""
        if self.disk == "shared":
            return host.folder.parent / "shared" / f"{self.uuid}.img"
        return host.folder / self.disk_path.lstrip("/")

    def make_disk(self, host: Host) -> None:
        """Make an image that isn't sparse, where there is none, so that there is something to copy."""
        image = self.disk_on(host)
        if not image.exists():
            image.write_bytes(b"disk" * (DISK_BYTES // 4))

    def start(self, host: Host) -> None:
        """Start it on `host`; a busy one has begun to write when this returns."""
        if self.disk != "none":
            self.make_disk(host)
        if self.persistent:
            self.define(host)
            host.virsh("start", self.uuid)
        else:
            host.virsh("create", "/dev/stdin", stdin=self.xml())
        if self.busy:
            self.wait_busy(host)

    def define(self, host: Host) -> None:
        """Define it on `host` without starting it."""
        host.virsh("define", "/dev/stdin", stdin=self.xml())

    def wait_busy(self, host: Host) -> None:
        """Return when the last of the guest's pages has been filled, so that a copy has something to do."""
        command = ("qemu-monitor-command", self.uuid, "--hmp", "xp /1wx 0x2fff000")
        waiting.until(lambda: host.virsh(*command).endswith("0x02fff000"), what="the guest to be busy")

    def power_off(self, host: Host) -> None:
        """Have the guest shut itself down, as its own system would; it works during a migration, too."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(host.folder / "run" / f"{self.uuid}.serial"))
            line.send(b"x")

    def remove(self, host: Host) -> None:
        """Destroy and undefine it on `host`, whatever state it is in there."""
        if self.uuid in host.domains():
            if "post-copy" in host.state(self.uuid) and host.qemu_pid(self.uuid):
                # A QEMU that waits for pages that won't come heeds no SIGTERM; libvirtd would take 10 s.
                host.kill_qemu(self.uuid)
            host.virsh("destroy", self.uuid, check=False)
            host.virsh("undefine", self.uuid, check=False)
            waiting.until(
                lambda: self.uuid not in host.domains(), what=f"{self.name} to be gone from {host.name}"
            )
        if self.disk != "none":
            self.disk_on(host).unlink(missing_ok=True)
