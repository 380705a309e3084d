"""What the host has, as the agent knows it: reports go in, messages without a sequence come out."""
