"""`python -m bridge` is `libvirt-mqtt`."""

import sys

from bridge.cli import main

sys.exit(main())
