"""The commands: one module each, and what they share.

options     the options of every command
parser      how a command line is parsed; mistakes in one line
outputs     what a command writes, checked before it works
console     progress bars and printed notes
system      streams, names of files, and what the system refuses
train       texthead train
quick_answer what texthead train begins with
result      what texthead train ends with
prepare     texthead prepare
compare     texthead compare
label       texthead label
doctor      texthead doctor
eval        texthead eval
report      texthead report
calibrate   texthead calibrate
predict     texthead predict
timeline    texthead timeline
classes     texthead classes
head        texthead head
import_run  texthead import
export      texthead export
encoders    texthead encoders
ui          texthead ui
demo        texthead demo
score_table  the table of a run's score and the baselines
model        the model that a command works with
"""
