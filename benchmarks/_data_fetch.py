"""Downloads by programs of a machine, whose failures are said in one sentence."""

import subprocess


def fetch(command: list[str], what: str, advice: str) -> None:
    """Run a program that downloads.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    what : str
        What it downloads.
    advice : str
        What to do where the program is missing.
    """
    program = command[0]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"{program} is not installed; {advice}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{program} could not fetch {what}: {error.stderr}") from None
