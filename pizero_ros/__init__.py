"""Run π0-family flow policies on ROS 2 robots."""
