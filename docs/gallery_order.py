"""Order of the examples in the gallery."""


def demo_first(filename: str) -> tuple[bool, str]:
    """Sort key: the example that `make demo` runs, then the others by name."""
    return filename != "plot_fontawesome.py", filename
