"""Consumes every host's events and publishes the outcome of each migration."""
