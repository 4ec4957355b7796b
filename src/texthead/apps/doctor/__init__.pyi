"""The public names of the package, imported on first use."""

from . import findings as findings
from . import near_duplicates as near_duplicates
from .examine import EncoderSettings as EncoderSettings
from .examine import diagnose as diagnose
from .facts import read_facts as read_facts
from .wrong_labels import suspicious_labels as suspicious_labels
