"""Watches one libvirt connection and publishes its events, states and jobs."""
