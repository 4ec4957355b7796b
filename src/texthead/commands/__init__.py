"""The commands: one module each.

train         texthead train
prepare       texthead prepare
compare       texthead compare
eval          texthead eval
report        texthead report
calibrate     texthead calibrate
predict       texthead predict
encoders      texthead encoders
"""
