"""The public names of the package, imported on first use."""

from .examine import findings_about_files as findings_about_files
from .facts import Facts as Facts
from .facts import read_facts as read_facts
from .wrong_labels import suspicious_labels as suspicious_labels
