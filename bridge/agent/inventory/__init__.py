"""What the agent knows of its host: reports go in, messages without a sequence come out."""
