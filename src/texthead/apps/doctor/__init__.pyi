"""The public names of the package, imported on first use."""

from . import findings as findings
from . import near_duplicates as near_duplicates
from .facts import read_facts as read_facts
