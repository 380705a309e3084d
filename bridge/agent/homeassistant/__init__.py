"""Home Assistant's discovery messages."""
