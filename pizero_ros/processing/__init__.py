"""Every transform between robot and model, with its inverse beside it."""
