"""``skxmc serve``: a saved model over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ..serving import Limits, run_server
from ._config import make_limits


def run(options: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    limits = make_limits(Limits, options.limits)
    token = read_token(options.token_file)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s")
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.getLogger("skxmc.serving").setLevel(level)
    # Ends the process as wanted, not as killed, once the server has answered what waits.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    more: dict[str, Any] = {} if options.hosts is None else {"hosts": options.hosts}
    try:
        run_server(
            options.model,
            host=options.host,
            port=options.port,
            limits=limits,
            token=token,
            new_labels=options.new_labels,
            feedback=options.feedback,
            reload_seconds=options.reload or None,
            load_options={"device": options.device},
            **more,
        )
    finally:
        signal.signal(signal.SIGTERM, before)


def read_token(path: str | None) -> str | None:
    """The token of a file, or of the environment; None where there is none."""
    if path is None:
        return os.environ.get("SKXMC_TOKEN") or None
    token = Path(path).expanduser().read_text("utf-8").strip()
    if not token:
        raise ValueError(f"{path} is empty; write a token into it.")
    return token
