"""The page in the browser.

app      the page itself, the one module that imports gradio; page.css, page.js
server   start, serve and stop the page
session  a file and typed names -> the parts of a page, as they are known
answers  what a page needs from a model
html     answers as HTML, from templates/
guard    allowed hosts, origins, addresses and sizes of bodies
"""
