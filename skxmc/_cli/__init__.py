"""The command ``skxmc``: fit, evaluate, predict and serve without a line of Python."""
