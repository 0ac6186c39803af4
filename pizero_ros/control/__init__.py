"""From chunks to commands that a controller accepts and a robot survives."""
