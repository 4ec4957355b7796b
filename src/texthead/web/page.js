// The playhead follows the player, and a click on the timeline or on an event moves the player.
const player = () => document.querySelector("video.th-media");

const follow = (video) => {
  const now = video.currentTime;
  for (const lanes of document.querySelectorAll(".th-lanes")) {
    const part = Math.min(1, now / Number(lanes.dataset.seconds));
    lanes.querySelector(".th-playhead").style.left = `${100 * part}%`;
  }
  for (const row of document.querySelectorAll(".th-events tr[data-start]")) {
    row.classList.toggle("th-on", Number(row.dataset.start) <= now && now < Number(row.dataset.end));
  }
};

const followOn = (video) => {
  follow(video);
  if (!video.paused && video.isConnected) requestAnimationFrame(() => followOn(video));
};

const seek = (seconds) => {
  const video = player();
  if (video && !video.hidden) video.currentTime = seconds;
};

// Media events do not bubble, so listen in the capture phase.
for (const kind of ["timeupdate", "seeking", "seeked", "pause", "loadedmetadata"]) {
  document.addEventListener(kind, (event) => event.target.matches?.("video.th-media") && follow(event.target), true);
}
document.addEventListener("play", (event) => event.target.matches?.("video.th-media") && followOn(event.target), true);

document.addEventListener("error", (event) => {
  if (!event.target.matches?.(".th-media")) return;
  event.target.hidden = true;
  event.target.parentElement.querySelector(".th-unplayable").hidden = false;
}, true);

document.addEventListener("click", (event) => {
  const moment = event.target.closest?.("[data-seek]");
  const lanes = event.target.closest?.(".th-lanes");
  if (moment) seek(Number(moment.dataset.seek));
  if (lanes) {
    const box = lanes.getBoundingClientRect();
    seek(Number(lanes.dataset.seconds) * (event.clientX - box.left) / box.width);
  }
});

// Gradio names the upload button by a label that leaves out the text on it; a screen reader then reads the text itself.
new MutationObserver(() => {
  document.querySelector("#file button[aria-dropeffect][aria-label]")?.removeAttribute("aria-label");
}).observe(document, { childList: true, subtree: true });
