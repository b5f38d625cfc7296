"""Inputs that nobody meant: damaged files, edited JSON, and objects of every kind as arguments.

A sample runs with the tests. ``python -m tests.fuzz --minutes 60`` goes on for an hour.
"""
