"""Few labels, frozen encoder.

closed_form  heads fitted in one go: a probe, and text rows with labelled items
methods      quick recognisers, cross-validated, and the lead of a rival
baselines    zero-shot and probe next to a result
estimator    TextHeadClassifier: scikit-learn on files
comparison   run the methods of a comparison
trial        whether fine-tuning beats the quick recogniser, on training items
transductive unlabelled files refine the scores of a batch
selection    which files to label next
labelling    files without labels, and the labels that they have so far
windows      long videos -> windows to be labelled one by one
label_file   labels in a CSV that several people write at once
learning_curve  how accurate few labels are, and what more would bring
"""
