"""Label Studio: its exports as our CSV, and our CSV as its tasks.

command  texthead label-studio
exports  JSON exports -> rows of a CSV
tasks    rows of a CSV -> tasks with labels and predictions, and the labelling configuration
"""
