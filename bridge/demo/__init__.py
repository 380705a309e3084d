"""The whole thing on one machine with nothing configured: broker, agent, correlator, a recorded migration."""
