"""Looks at a live ROS graph and says what a policy would find there; moves nothing."""
