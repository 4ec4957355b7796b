"""Label Studio: its exports as our CSV, and our CSV as its tasks.

command  texthead label-studio
formats  JSON exports -> rows of a CSV; rows of a CSV -> tasks with labels and predictions, and the configuration
"""
