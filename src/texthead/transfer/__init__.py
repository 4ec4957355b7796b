"""Few labels, frozen encoder.

closed_form  heads fitted in one go: probe, class means, tuned projection
methods      quick recognisers, cross-validated, and the choice of one
baselines    zero-shot and probe next to a result
estimator    TextHeadClassifier: scikit-learn on files
comparison   run the methods of a comparison
transductive unlabelled files refine the scores of a batch
"""
