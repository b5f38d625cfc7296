"""Plug-ins as another package would bring them: one file each, and nothing of skxmc is touched."""
