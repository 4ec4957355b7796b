"""Applications, each with its command, on the public names of the core.

bulk          predictions of millions of files on Ray
checkpoints   runs from published checkpoints of Text4Vis, BIKE and others
classes       add, rename and remove the classes of a run
demo          the demo: drawn videos, and heads compared on them
doctor        check a data set before training
estimator     a scikit-learn estimator on files
export        a run as a folder that predicts without texthead
hub_datasets  labelled files of Hugging Face `datasets`
label         label files in the browser, the most useful ones first
label_studio  Label Studio: its exports as our CSV, and our CSV as its tasks
page          the page that names what is in a dropped file
search        search a folder by words or by example
serving       what pages share: the server, its guard, their files
timeline      events over time in videos and streams
"""
