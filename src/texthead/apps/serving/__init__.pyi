"""The public names of the package, imported on first use."""

from .options import ServerOptions as ServerOptions
from .previews import contact_sheet as contact_sheet
from .request_queue import RequestQueue as RequestQueue
from .server import MEDIA_TYPES as MEDIA_TYPES
from .server import file_route as file_route
from .server import json_body as json_body
from .server import page_app as page_app
from .shown import ShownFiles as ShownFiles
from .uploads import Uploads as Uploads
