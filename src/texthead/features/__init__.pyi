"""The public names of the package, imported on first use."""

from .cache import open_cache as open_cache
from .cache import software_key as software_key
from .cache import weights_key as weights_key
from .engine import Engine as Engine
from .engine import quiet as quiet
from .frames import check_any as check_any
from .frames import frame_features as frame_features
from .frames import frame_times as frame_times
from .frames import readable as readable
from .frozen import FrozenFiles as FrozenFiles
from .frozen import FrozenItems as FrozenItems
from .stills import Still as Still
from .views import encode_views as encode_views
from .views import item_features as item_features
