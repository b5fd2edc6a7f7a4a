"""Image and label files: checked, decoded and written. NumPy and Pillow only."""
