"""The correlator's output: building messages, sending the store's queue, restoring retained messages."""
