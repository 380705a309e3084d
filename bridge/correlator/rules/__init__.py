"""The decision: what one domain's messages prove. Sans-I/O: no clock, thread, store or broker."""
