"""The web pages of `texthead ui` and `texthead label`.

server          what pages share: their application with its guard, and a server that starts and stops it
guard           checks of hosts, origins, addresses and body sizes
password        password for pages that others can reach
uploads         files that a page receives, for an hour
request_queue   requests that are answered one at a time, step by step
app             the page of `texthead ui`, with page.css, page.js and templates/
answers         predictions, timeline and saliency from a model
html            answers as HTML, from templates/
label_app       the page of `texthead label`; its markup and script are in label/
label_session   the next file for each person, the model, its accuracy
label_media     previews of files that the browser cannot show
label_training  training started from the page
"""
