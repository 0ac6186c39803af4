"""Sensor streams on their own clocks, gathered into one observation."""
