"""The torch π0; nothing on the robot imports this."""
