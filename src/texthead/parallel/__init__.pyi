"""The public names of the package, imported on first use."""

from .device import pick_device as pick_device
from .distributed import gather_list as gather_list
from .distributed import gather_rows as gather_rows
from .distributed import launched as launched
from .distributed import rank as rank
from .loaders import own_variables as own_variables
from .progress import Reporter as Reporter
from .startup import keep_freed_memory as keep_freed_memory
from .worker_pool import FailedTask as FailedTask
from .worker_pool import StatefulWorker as StatefulWorker
from .worker_pool import run_tasks as run_tasks
