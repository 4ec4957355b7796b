"""The public names of the package, imported on first use."""

from .results import Events as Events
from .timeline import Sliding as Sliding
