"""The correlator's input: messages as the decision needs them, and what is known of each host."""
