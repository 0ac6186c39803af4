"""The demonstration: robots and policy as separate processes, watched and reported on."""
