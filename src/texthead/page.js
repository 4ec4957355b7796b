// Media events do not bubble, but are seen on their way down.
document.addEventListener("error", (event) => {
  if (!event.target.matches?.(".th-media")) return;
  event.target.hidden = true;
  const note = event.target.parentElement.querySelector(".th-unplayable");
  if (note) note.hidden = false;
}, true);
