"""What one domain's messages prove: the decision. Values and functions; no clock, thread, store or broker."""
