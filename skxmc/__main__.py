"""``python -m skxmc`` is the command ``skxmc``."""

from __future__ import annotations

import sys

from ._cli._main import main

if __name__ == "__main__":
    sys.exit(main())
