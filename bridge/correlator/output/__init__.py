"""What is published: messages out of tellings, the queue of the store, and what is retained."""
