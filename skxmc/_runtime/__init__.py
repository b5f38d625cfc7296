"""Device, threads, limits, plug-ins, optional packages: what every room may use."""
