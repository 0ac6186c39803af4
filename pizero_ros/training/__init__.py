"""Training: data, the flow-matching loss, and everything that turns a recording into a policy."""
