"""A private certificate authority and what it signs, made with openssl in a folder."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_CONFIG = """
[ca]
default_ca = private
[private]
dir = {folder}
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Certificates:
    """One authority. `server` is a certificate for localhost and 127.0.0.1, made at once."""

    def __init__(self, folder: Path, name: str = "private authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "ca.conf").write_text(_CONFIG.format(folder=folder))
        self.authority = folder / "authority.crt"
        self._key = folder / "authority.key"
        self._openssl(
            *("req", "-x509", "-days", "30", "-subj", f"/CN={name}", "-out", str(self.authority)),
            *(
                "-addext",
                "basicConstraints=critical,CA:TRUE",
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
            ),
            *("-keyout", str(self._key), *_NEW_KEY),
        )
        self.server = self.sign("localhost", "DNS:localhost,IP:127.0.0.1")

    def sign(self, name: str, alternative_names: str | None = None, *, days: int = 30) -> Signed:
        """A certificate for `name`, valid for `days` from yesterday on; with -1 it has expired."""
        file = f"{name}-{days}".replace("/", "_")
        signed = Signed(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        request = self.folder / f"{file}.csr"
        extension = ("-addext", f"subjectAltName={alternative_names}") if alternative_names else ()
        self._openssl(
            *("req", "-new", "-subj", f"/CN={name}", "-out", str(request), *extension),
            *("-keyout", str(signed.key), *_NEW_KEY),
        )
        yesterday = datetime.now(UTC) - timedelta(days=1)
        start = yesterday - timedelta(days=30) if days < 0 else yesterday
        end = yesterday + timedelta(days=days)
        self._openssl(
            *("ca", "-batch", "-config", str(self.folder / "ca.conf"), "-notext"),
            *("-cert", str(self.authority), "-keyfile", str(self._key)),
            *(
                "-startdate",
                f"{start:%Y%m%d%H%M%SZ}",
                "-enddate",
                f"{end:%Y%m%d%H%M%SZ}",
            ),
            *("-in", str(request), "-out", str(signed.certificate)),
        )
        return signed

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"openssl {' '.join(arguments)}:\n{done.stderr}")


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
