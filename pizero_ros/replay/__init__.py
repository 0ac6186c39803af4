"""Reading recordings, and what the policy makes of them."""
