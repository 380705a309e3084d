"""Consumes every host's events and publishes what became of each migration."""
