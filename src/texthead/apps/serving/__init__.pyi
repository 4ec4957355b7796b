"""The public names of the package, imported on first use."""

from .files import MEDIA_TYPES as MEDIA_TYPES
from .files import ShownFiles as ShownFiles
from .files import Uploads as Uploads
from .media_table import MediaTable as MediaTable
from .server import Guard as Guard
from .server import file_route as file_route
from .server import json_body as json_body
from .server import listening as listening
from .server import page_app as page_app
from .server import serve as serve
