"""The public names of the package, imported on first use."""

from .console import console as console
from .encoder_choice import say_better as say_better
from .model import ModelOptions as ModelOptions
from .model import notes_on_names as notes_on_names
from .model import with_classes as with_classes
from .options import check_no_encoder as check_no_encoder
from .options import common as common
from .options import default_workers as default_workers
from .outputs import check_out_file as check_out_file
from .parser import argument as argument
from .parser import option as option
