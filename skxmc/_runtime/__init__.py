"""What any room may need of the process it runs in."""
