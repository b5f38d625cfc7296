"""``python -m skxmc.datasets.images`` is the command ``skxmc images``."""

from __future__ import annotations

import sys

from .._cli._main import main

if __name__ == "__main__":
    sys.exit(main(["images", *sys.argv[1:]]))
