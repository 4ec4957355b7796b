"""The public names of the package, imported on first use."""

from .events import Event as Event
from .events import EventFinder as EventFinder
from .events import Hysteresis as Hysteresis
from .events import Stretch as Stretch
from .events import in_order as in_order
from .events import subtitles as subtitles
from .timeline import EventChange as EventChange
from .timeline import Events as Events
from .timeline import Sliding as Sliding
from .timeline import Timeline as Timeline
from .timeline import find_events as find_events
from .timeline import open_timed as open_timed
from .timeline import rule_for as rule_for
from .timeline import scores_over_time as scores_over_time
