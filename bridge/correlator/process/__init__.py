"""A batch of messages as one transaction of the store."""
