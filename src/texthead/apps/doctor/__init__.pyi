"""The public names of the package, imported on first use."""

from .examine import findings_about_files as findings_about_files
from .file_stats import FileStats as FileStats
from .file_stats import read_file_stats as read_file_stats
from .wrong_labels import suspicious_labels as suspicious_labels
