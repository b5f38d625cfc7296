"""Entry point: which command runs, and what becomes of its errors."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from .._runtime._optional import import_optional
from ._arguments import make_parser

# What a user can set right. Anything else is a mistake of ours.
USER_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError)

USER_ERROR, INTERNAL_ERROR, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, default=None
        Of the command line; None takes those of the process.

    Returns
    -------
    status : int
        0; 2 if the user can set it right, with one line that says how; 130 after Ctrl-C; 1 for
        anything else.
    """
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        import_optional("argcomplete", "completion").autocomplete(parser)
    options = parser.parse_args(arguments)
    with _plain_warnings():
        try:
            # The commands load PyTorch, which --help and wrong options need not wait for.
            import_module(f"._{options.command}", __package__).run(options)
        except KeyboardInterrupt:
            _complain("interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # who reads has gone; flushing at exit would fail as well
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return INTERNAL_ERROR
        except Exception as error:
            if options.debug:
                raise
            message = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, USER_ERRORS):
                _complain(message)
                return USER_ERROR
            _complain(f"{type(error).__name__}: {message} (--debug shows where)")
            return INTERNAL_ERROR
    return 0


def _complain(message: str) -> None:
    sys.stderr.write(f"skxmc: {message}\n")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line, without the place in our code."""

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        _complain(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
