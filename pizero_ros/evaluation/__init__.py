"""Closed-loop evaluation: which trials there are, how they went, what they say."""
