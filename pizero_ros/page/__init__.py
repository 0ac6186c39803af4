"""What reports are made of: one HTML file each, which loads nothing from elsewhere."""
