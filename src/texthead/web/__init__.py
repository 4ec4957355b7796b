"""The web pages of `texthead ui` and `texthead label`.

app      the page of `texthead ui`, with page.css and page.js; only this module imports gradio
server   start, serve and stop a page
session  answer a request with the parts of the page, one after the other
answers  predictions, timeline and saliency from a model
html     answers as HTML, from templates/
queue_requests  strict checks of requests to Gradio's queue
guard    checks of hosts, origins, addresses and body sizes
password password for pages that others can reach
label_app       the page of `texthead label`; its markup and script are in label/
label_session   the next file for each person, the model, its accuracy
label_media     files for the browser, as they are or as previews
label_training  training started from the page
"""
