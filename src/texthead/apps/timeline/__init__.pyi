"""The public names of the package, imported on first use."""

from .events import Event as Event
from .results import Events as Events
from .timeline import Sliding as Sliding
