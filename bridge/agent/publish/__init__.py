"""What goes to the broker: the event stream, what is retained, and the status."""
