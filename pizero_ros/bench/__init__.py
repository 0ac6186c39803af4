"""Measuring inference: latency by phase, and what the hardware could do at best."""
