"""The public names of the package, imported on first use."""

from .caller import apart_from_caller as apart_from_caller
from .distributed import all_gather_list as all_gather_list
from .distributed import pick_device as pick_device
from .distributed import process_group as process_group
from .distributed import rank as rank
from .distributed import world_size as world_size
from .loaders import FileDataset as FileDataset
from .loaders import own_variables as own_variables
from .loaders import read_each as read_each
from .startup import begin_tracker as begin_tracker
from .startup import keep_freed_memory as keep_freed_memory
