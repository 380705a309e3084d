"""A fleet played over a real broker: it speaks the contract, knows the truth, and checks each verdict."""
