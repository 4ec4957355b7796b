"""Experiments for every table and figure of the paper: `python -m paper`."""
