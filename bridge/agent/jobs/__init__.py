"""What jobs domains have: how far they are, and how migrations end of which no event tells."""
