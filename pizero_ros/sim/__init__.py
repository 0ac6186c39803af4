"""Simulated robots of primitive shapes on plain MuJoCo."""
