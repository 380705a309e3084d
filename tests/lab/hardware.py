"""A guest with hardware that has something to tell, and what its system would do with it.

The guest runs nothing: QEMU's monitor writes to its ports in its place, so devices do as they would for a
system. Ports and registers: Intel's PIIX4 (PMBA, PMREGMISC, PM1_CNT), ATA-6 (task file), MC146818 (register
B), virtio 0.9.5 (legacy header), QEMU's wdt_ib700.c.
"""

from __future__ import annotations

import re
import socket
import subprocess
from typing import Any, Final, Self

import libvirt
import libvirt_qemu

from tests.lab import waiting
from tests.lab.guest import MACHINE, PRIVATE_FOLDER, hypervisor
from tests.lab.host import FIRMWARE_FOLDER, Host

SMALL: Final = f"{PRIVATE_FOLDER}/small"
"""A file system of a few pages, for disks that are to be full."""
XML: Final = """\
<domain type='{hypervisor}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <loader readonly='yes' type='rom'>{firmware_folder}/idle.rom</loader>
  </os>
  <features><acpi/><apic/></features>
  <pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='yes'/></pm>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='writeback' error_policy='stop'/>
      <source file='{small}/disk.img'/><target dev='hda' bus='ide'/>
    </disk>
    <disk type='file' device='cdrom'>
      <source file='{folder}/cd.iso'/><target dev='hdc' bus='ide'/>
    </disk>
    <disk type='file' device='cdrom'>
      <source file='{folder}/missing.iso' startupPolicy='optional'/><target dev='hdd' bus='ide'/>
    </disk>
    <controller type='usb' model='piix3-uhci'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='unix'><source mode='bind' path='/run/{name}.serial'/></serial>
    <watchdog model='ib700' action='none'/>
    <graphics type='vnc'><listen type='socket' socket='/run/{name}.vnc'/></graphics>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""
TABLET: Final = "<input type='tablet' bus='usb'/>"
SECTOR_BYTES: Final = 512
_CONFIG_ADDRESS, _CONFIG_DATA = 0xCF8, 0xCFC
_PM_BASE: Final = 0x600
_BALLOON_BASE: Final = 0xC000


class Machine:
    """The guest on one host; a context manager."""

    def __init__(self, host: Host, uuid: str, name: str = "machine") -> None:
        self.host, self.uuid, self.name = host, uuid, name
        self._connection: Any = libvirt.open(host.uri)
        self.domain: Any = None

    def __enter__(self) -> Self:
        self._inside("mkdir", "-p", SMALL)
        self._inside("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", SMALL)
        self._inside("truncate", "-s", "1M", f"{SMALL}/disk.img", f"{PRIVATE_FOLDER}/cd.iso")
        return self

    def __exit__(self, *_: object) -> None:
        self.host.virsh("destroy", self.uuid, check=False)
        waiting.until(lambda: self.uuid not in self.host.domains(), what=f"{self.name} to be gone")
        self._inside("umount", SMALL)
        self._connection.close()

    def start(self) -> None:
        """Starts it, transient."""
        xml = XML.format(
            hypervisor=hypervisor(),
            name=self.name,
            uuid=self.uuid,
            machine=MACHINE,
            firmware_folder=FIRMWARE_FOLDER,
            folder=PRIVATE_FOLDER,
            small=SMALL,
        )
        self.domain = self._connection.createXML(xml)

    def save_and_restore(self) -> None:
        """Saves it to a file and takes it up again."""
        self.host.virsh("save", self.uuid, f"{PRIVATE_FOLDER}/{self.name}.save")
        self.host.virsh("restore", f"{PRIVATE_FOLDER}/{self.name}.save")
        self.domain = self._connection.lookupByUUIDString(self.uuid)

    def monitor(self, command: str) -> str:
        """What QEMU's monitor answers."""
        answer: str = libvirt_qemu.qemuMonitorCommand(
            self.domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        )
        return answer

    def set_clock(self) -> None:
        """The guest sets the day of the month."""
        for register, value in ((0x0B, 0x82), (0x07, 0x11), (0x0B, 0x02)):
            self._out(0x70, register)
            self._out(0x71, value)

    def let_watchdog_fire(self) -> None:
        """The guest arms its watchdog for no time at all."""
        self._out(0x443, 0x0F)
        self._out(0x441, 0)

    def write_past_threshold(self) -> None:
        """The guest writes beyond a threshold that somebody set."""
        self.domain.setBlockThreshold("hda", 4096)
        self._write_sector(64)

    def write_to_full_disk(self) -> None:
        """Somebody else takes the space that is left, and the guest writes."""
        self._inside("dd", "if=/dev/zero", f"of={SMALL}/filler", "status=none", check=False)
        self._write_sector(1500)

    def _write_sector(self, number: int) -> None:
        """By programmed I/O."""
        task = (
            (0x1F6, 0xE0),
            (0x1F2, 1),
            (0x1F3, number & 255),
            (0x1F4, number >> 8),
            (0x1F5, 0),
            (0x1F7, 0x30),
        )
        for port, value in task:
            self._out(port, value)
        for _ in range(SECTOR_BYTES // 4):
            self._out(0x1F0, 1, "w")

    def sleep(self, *, on_disk: bool = False) -> None:
        """The guest goes to sleep."""
        self._configure(1, 3, 0x40, _PM_BASE | 1)
        self._configure(1, 3, 0x80, 1)
        self._configure(1, 3, 0x04, 1)
        self._out(_PM_BASE + 4, 0x2800 if on_disk else 0x2400, "h")

    def shrink_balloon(self) -> None:
        """The guest says how many pages it gave."""
        found = re.search(r"device +(\d+), function 0:\s+[^\n]*1af4:1002", self.monitor("info pci"))
        assert found, "no balloon"
        self._configure(int(found[1]), 0, 0x10, _BALLOON_BASE | 1)
        self._configure(int(found[1]), 0, 0x04, 1)
        self._out(_BALLOON_BASE + 24, 1024, "w")

    def look_at(self) -> None:
        """A VNC client looks at the guest's screen, and leaves."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.host.folder / "run" / f"{self.name}.vnc"))
            for answer in (b"RFB 003.008\n", b"\1", b"\1"):
                client.recv(64)
                client.send(answer)
            client.recv(64)

    def plug_and_unplug(self) -> None:
        """Adds a USB tablet and takes it away."""
        self.domain.attachDevice(TABLET)
        found = re.search(r"<input type='tablet' bus='usb'>.*?</input>", self.domain.XMLDesc(), re.DOTALL)
        assert found
        self.domain.detachDevice(found[0])

    def copy_disk(self) -> None:
        """A block job from its beginning to its end."""
        command = f"blockcopy {self.uuid} hda --dest {PRIVATE_FOLDER}/copy.img --format raw"
        self.host.virsh(*command.split(), "--transient-job", "--wait", "--finish")

    def _configure(self, device: int, function: int, register: int, value: int) -> None:
        self._out(_CONFIG_ADDRESS, 1 << 31 | device << 11 | function << 8 | register, "w")
        self._out(_CONFIG_DATA, value, "w")

    def _out(self, port: int, value: int, size: str = "b") -> None:
        said = self.monitor(f"o /{size} {port} {value}")
        assert not said.strip(), said

    def _inside(self, *command: str, check: bool = True) -> None:
        subprocess.run(self.host.command(*command), check=check, capture_output=True)
