"""What pages share: the server, its guard, their files.

server     the application of a page with its guard, and its server on this machine
files      files that a page shows, by keys of their content, and those that it receives
media_table  rows of a CSV by file, such as labels
previews   stills, and previews of files that the browser cannot show
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
