"""What the machine and the Python environment offer."""
