"""The command ``skxmc``: fit, update, predict and serve without a line of Python."""
