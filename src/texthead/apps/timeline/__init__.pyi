"""The public names of the package, imported on first use."""

from .events import Event as Event
from .events import Stretch as Stretch
from .results import Events as Events
