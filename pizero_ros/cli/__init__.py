"""The ``pizero`` command, one file a verb."""
