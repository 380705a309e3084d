"""libvirt-mqtt: libvirt's events over MQTT, and the true outcome of each migration."""

__version__ = "0.2.0"
