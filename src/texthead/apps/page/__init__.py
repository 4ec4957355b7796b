"""The page that names what is in a dropped file.

command  texthead ui
app      the page of `texthead ui`, with page.css, page.js and templates/
answers  predictions and timeline from a model
html     answers as HTML, from templates/
worker   a process that keeps a model, replaced if it hangs or dies
"""
