"""The commands: one module each, and modules that they share.

train         texthead train
prepare       texthead prepare
compare       texthead compare
eval          texthead eval
report        texthead report
calibrate     texthead calibrate
predict       texthead predict
encoders      texthead encoders
prediction_file  a CSV or JSON-lines file of predictions that a later call continues
"""
