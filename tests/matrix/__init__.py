"""The same checks at every broker that people have."""
