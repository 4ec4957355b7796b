"""The public names of the package, imported on first use."""

from .class_names import check_names as check_names
from .class_names import clean_name as clean_name
from .class_names import clean_names as clean_names
from .class_names import read_names as read_names
from .class_names import typed_names as typed_names
from .class_tree import ClassTree as ClassTree
from .label_files import imagenet_texts as imagenet_texts
from .prompts import class_prompts as class_prompts
from .prompts import flat as flat
from .prompts import read_classes as read_classes
from .prompts import read_template as read_template
