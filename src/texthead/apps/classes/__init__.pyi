"""The public names of the package, imported on first use."""

from .class_edits import add_classes as add_classes
from .class_edits import remove_classes as remove_classes
from .class_edits import rename_class as rename_class
from .class_edits import save_classes as save_classes
