"""Class names -> prompts, without torch.

class_names  clean, check and read class names
class_tree   the names above the classes
prompts      make prompts from templates, class names and sentences
label_files  read label files, which map ids to class names
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
