"""The command line: what every command uses, and the program itself.

main         find a command by its name and run it
parser       parse a command line; errors on one line
options      options of several commands
recipe_file  recipes by name or from a YAML file
flag_names   parameters in messages, as flags
console      print results, notes, JSON and the next command
outputs      checks of output paths before a command runs
status_line  progress on a terminal
score_table  the scores of a run, and those of the baselines of a trained one
signals      make SIGTERM and SIGHUP end the program as Ctrl-C does
system       streams, threads, child processes, and errors of the operating system
model        the model of a command
encoder_choice  the encoder of a command
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
