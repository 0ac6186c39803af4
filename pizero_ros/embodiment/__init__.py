"""What a robot is: one YAML file, read and validated in one place."""
