"""Class names -> prompts, without torch.

class_names  clean, check and read class names
prompts      templates, sentences and the prompts that they make
label_files  the class names behind numbers and ids
"""
