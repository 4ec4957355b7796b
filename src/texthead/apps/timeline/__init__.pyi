"""The public names of the package, imported on first use."""

from .events import Event as Event
from .events import Hysteresis as Hysteresis
from .events import Stretch as Stretch
from .events import subtitles as subtitles
from .results import Events as Events
from .timeline import Sliding as Sliding
from .timeline import find_events as find_events
