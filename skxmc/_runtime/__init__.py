"""What the package runs on: devices, threads, and the libraries beside it."""
