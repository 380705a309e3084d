"""Watches one libvirt connection and publishes what it says."""
