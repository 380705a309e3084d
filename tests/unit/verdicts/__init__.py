"""Proofs of the decision: every row of the table of migrations, the recordings, and random fleets."""
