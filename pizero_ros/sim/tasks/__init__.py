"""Tasks of the simulated robots: instructions, success, progress, and what was approached."""
