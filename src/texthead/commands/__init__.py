"""The commands: one module each, and modules that they share.

options     options of several commands
parser      parse a command line; errors on one line
outputs     checks of output paths before a command runs
console     print results, notes, JSON and the next command
status_line progress on a terminal
system      streams, file names, and errors of the operating system
train       texthead train
quick_answer the start of texthead train
result      the end of texthead train
prepare     texthead prepare
compare     texthead compare
label       texthead label
doctor      texthead doctor
eval        texthead eval
report      texthead report
calibrate   texthead calibrate
predict     texthead predict
bulk        texthead bulk
timeline    texthead timeline
classes     texthead classes
import_run  texthead import
export      texthead export
encoders    texthead encoders
ui          texthead ui
demo        texthead demo
score_table  the table of the scores of a run and the baselines
model        the model of a command
"""
