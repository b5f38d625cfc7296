"""``skxmc serve``: a saved model over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..serving import Limits, run_server
from ._config import read_config


def run(options: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    limits = make_limits(options.limits)
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


def make_limits(settings: Sequence[str]) -> Limits:
    """Limits of which some are given as ``NAME=VALUE``.

    Raises
    ------
    ValueError
        If there is no such limit, or its value is none.
    """
    known = [field.name for field in fields(Limits)]
    values = read_config(None, settings)
    for name in values:
        if name not in known:
            raise ValueError(
                f"--limit has the unknown name {name!r}; the known ones are {', '.join(known)}."
            )
    return Limits(**values)


def read_token(path: str | None) -> str | None:
    """The token of a file, or of the environment; None where there is none."""
    if path is None:
        return os.environ.get("SKXMC_TOKEN") or None
    token = Path(path).expanduser().read_text("utf-8").strip()
    if not token:
        raise ValueError(f"{path} is empty; write a token into it.")
    return token
