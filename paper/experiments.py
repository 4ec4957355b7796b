"""All experiments, in the order in which `run all` takes them."""

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
    "unfrozen",
    "tuned",
    "ucf_hmdb",
    "anet",
)


def module(name: str) -> ModuleType:
    """The experiment's module: its docstring is the label, `plan` runs it, `TITLE` names it.

    Raises:
        RunError: no such experiment.
    """
    if name not in NAMES:
        raise RunError(f"no experiment {name!r}: known are {', '.join(NAMES)} and all")
    return import_module(f"paper.{name}")


def label(name: str) -> str:
    """What it is, needs and costs."""
    return inspect.cleandoc(module(name).__doc__ or "")
