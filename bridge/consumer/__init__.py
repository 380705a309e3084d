"""Reads what agents and correlators publish, without loss: validation, sequences, gaps, replay requests."""
