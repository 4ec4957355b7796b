"""The public names of the package, imported on first use."""

from .events import Event as Event
from .events import Interval as Interval
from .results import Events as Events
