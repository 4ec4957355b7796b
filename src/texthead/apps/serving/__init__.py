"""What pages share: the server, its guard and its password.

guard          checks of hosts, origins, addresses and body sizes
password       password for pages that others can reach
server         what pages share: their application with its guard, and a server that starts and stops it
options        address and password of a page
shown          files that a page shows, by keys of their content
uploads        files that a page receives, for an hour
previews       stills, previews of files that the browser cannot show, and contact sheets
request_queue  requests that are answered one at a time, step by step
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
