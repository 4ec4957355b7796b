"""The paper's tables and figures at a laptop scale: `python -m paper`."""
