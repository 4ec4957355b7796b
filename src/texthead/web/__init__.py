"""The pages in the browser.

app      the page of `texthead ui` itself, the one module that imports gradio; page.css, page.js
server   start, serve and stop a page
session  a file and typed names -> the parts of a page, as they are known
answers  what a page needs from a model
html     answers as HTML, from templates/
queue_requests  what the page sends to its queue, and nothing else
guard    allowed hosts, origins, addresses and sizes of bodies
password a password in front of a page that others can reach
label_app       the page of `texthead label`, whose markup and script are in label/
label_session   which file comes next for whom, and what the labels are worth
label_media     files as a browser shows them
label_training  the commands that the page starts
"""
