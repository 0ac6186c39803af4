"""Scripted experts: they see the truth of a scene and do what an instruction says."""
