"""Search a folder of videos and images by words or by example.

command  texthead find
index    the features of a folder's windows, in one file
windows  videos -> windows of similar frames, and their features, kept in one file
search   rank the windows of an index by a query, and compare the best one with chance; hits as CSV
marks    hits and misses: a CSV, a head, what to mark next, and a run
app      the page of `texthead find --page`, with search.html, search.js and search.css
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
