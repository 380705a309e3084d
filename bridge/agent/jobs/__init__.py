"""Domains' jobs: how far they are, and the ends of migrations that no event announces."""
