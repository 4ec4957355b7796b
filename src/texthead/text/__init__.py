"""Class names -> prompts, without torch.

class_names  clean, check and read class names
prompts      make prompts from templates, class names and sentences
class_tree   the broader names above each class
label_files  read label files, which map ids to class names
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
