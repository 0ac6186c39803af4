"""ROS 2 nodes: they translate messages and own threads and timers, nothing else."""
