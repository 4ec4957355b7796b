"""Names of all experiments, in the order of `run all`."""

import inspect
from importlib import import_module
from types import ModuleType

from texthead.errors import RunError

NAMES = (
    "fig3",
    "fig4",
    "table1",
    "fig1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "table8",
    "table9",
    "table10",
    "table11",
    "table12",
    "k600",
    "unfrozen",
    "tuned",
    "ucf_hmdb",
    "anet",
)


def module(name: str) -> ModuleType:
    """Import an experiment's module, which has a descriptive docstring, `TITLE` and `plan`.

    Raises:
        RunError: the experiment does not exist.
    """
    if name not in NAMES:
        raise RunError(f"unknown experiment {name!r}; use all or one of {', '.join(NAMES)}")
    return import_module(f"paper.{name}")


def label(name: str) -> str:
    """Return the experiment's description: command, files, cost, the paper's numbers, choices, stand-ins."""
    return inspect.cleandoc(module(name).__doc__ or "")
