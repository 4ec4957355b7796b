"use strict";

const $ = (id) => document.getElementById(id);

const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);

const PARTS = ["named", "when"];

// The token of the chosen file, when it has arrived; the request that sends it; the question that is being answered.
let uploaded = null;
let sending = null;
let question = null;

const showError = (text) => {
  $("error").textContent = text;
  $("error").hidden = !text;
};

const clear = () => {
  for (const part of PARTS) $(part).replaceChildren();
};

// ---- the file

const choose = (file) => {
  if (!file) return;
  sending?.abort();
  question?.abort();
  clear();
  showError("");
  uploaded = null;
  const megabytes = Number($("file").dataset.megabytes);
  const size = file.size < 2 ** 20 ? `${Math.ceil(file.size / 2 ** 10)} kB` : `${(file.size / 2 ** 20).toFixed(1)} MB`;
  $("chosen").textContent = `${file.name} (${size})`;
  $("chosen").hidden = false;
  $("stage").replaceChildren();
  $("stage").classList.remove("empty");
  if (file.size > megabytes * 2 ** 20) {
    showError(`${file.name}: ${size}; this page takes files of up to ${megabytes} MB.`);
    return;
  }
  uploaded = send(file);
  uploaded.then(({ file: token, type }) => showMedia(token, type, file.name), (error) => showError(error.message));
};

// Only this older interface reports progress.
const send = (file) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  const name = file.name.slice(-100);
  request.open("POST", `/upload?${new URLSearchParams({ name })}`);
  request.upload.addEventListener("progress", ({ loaded, total }) => { $("sent").value = loaded / total; });
  request.addEventListener("load", () => {
    if (request.status === 200) resolve(JSON.parse(request.responseText));
    else reject(new Error(errorOf(request.responseText)));
  });
  request.addEventListener("error", () => reject(new Error(`${file.name}: cannot be sent. Is texthead ui still running?`)));
  request.addEventListener("abort", () => reject(new Error("")));
  request.addEventListener("loadend", () => { if (sending === request) $("sent").hidden = true; });
  $("sent").value = 0;
  $("sent").hidden = false;
  sending = request;
  request.send(file);
});

// Errors are JSON, or a line of text from the guard.
const errorOf = (text) => {
  try {
    return JSON.parse(text).error;
  } catch {
    return text;
  }
};

const showMedia = (token, type, name) => {
  const unplayable = () => {
    const text = "This browser cannot show this file; texthead may still read it.";
    $("stage").replaceChildren(element("p", { textContent: text }));
  };
  if (!type) return unplayable();
  const src = `/upload/${token}`;
  const media = type.startsWith("image/")
    ? element("img", { alt: name, src })
    : element("video", { controls: true, muted: true, playsInline: true, preload: "metadata", ariaLabel: name, src });
  media.addEventListener("error", unplayable, { once: true });
  // Browsers play only the audio if they cannot decode the video.
  media.addEventListener("loadeddata", () => { if (!media.videoWidth) unplayable(); }, { once: true });
  for (const kind of ["timeupdate", "seeking", "seeked", "pause", "loadedmetadata"]) {
    media.addEventListener(kind, () => follow(media));
  }
  media.addEventListener("play", () => followOn(media));
  $("stage").replaceChildren(media);
  return undefined;
};

$("file").addEventListener("change", () => choose($("file").files[0]));

// A file may be dropped anywhere; elsewhere the browser would leave the page to open it.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  choose(event.dataTransfer.files[0]);
});

// ---- the question

const ask = async () => {
  if (question) return;
  const asked = question = new AbortController();
  let fresh = false;
  showError("");
  $("status").textContent = uploaded ? "Uploading …" : "";
  $("answer").setAttribute("aria-busy", "true");
  $("cancel").hidden = false;
  try {
    const cancelled = new Promise((_, reject) => { asked.signal.addEventListener("abort", () => reject(new Error(""))); });
    const file = (await Promise.race([uploaded, cancelled]))?.file;
    const response = await fetch("/ask", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ file, names: $("names").value }),
      signal: asked.signal,
    });
    if (!response.ok) throw new Error(errorOf(await response.text()));
    for await (const step of lines(response)) {
      if (asked.signal.aborted) break;
      if (step.error) throw new Error(step.error);
      if (step.named) {
        fresh = true;
        clear();
        $("answer").classList.add("fresh");
      }
      show(step);
      // On a phone, the answer is below the form.
      if (step.named) $("named").scrollIntoView({ block: "nearest" });
    }
  } catch (error) {
    if (!asked.signal.aborted) {
      if (!fresh) clear();
      showError(error instanceof TypeError ? "The server does not answer. Is texthead ui still running?" : error.message);
    }
  } finally {
    question = null;
    $("status").textContent = "";
    $("answer").removeAttribute("aria-busy");
    $("answer").classList.remove("fresh");
    if (document.activeElement === $("cancel")) $("ask").focus();
    $("cancel").hidden = true;
  }
};

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    const complete = (rest + value).split("\n");
    rest = complete.pop();
    yield* complete.map((line) => JSON.parse(line));
  }
}

const show = (step) => {
  for (const part of PARTS) if (part in step) $(part).innerHTML = step[part];
  if ("status" in step) $("status").textContent = step.status;
  const video = document.querySelector("#stage video");
  if (step.when && video) follow(video);
};

$("question").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
$("names").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
});
$("cancel").addEventListener("click", () => question?.abort());

// ---- the timeline: the playhead follows the player, and a click on a lane or an event moves the player

// The player counts from the start of the file, the timeline from the first picture.
const offset = () => Number(document.querySelector(".lanes")?.dataset.offset ?? 0);

const follow = (video) => {
  const now = video.currentTime - offset();
  for (const lanes of document.querySelectorAll(".lanes")) {
    const part = Math.max(0, Math.min(1, now / Number(lanes.dataset.seconds)));
    lanes.querySelector(".playhead").style.left = `${100 * part}%`;
  }
  for (const row of document.querySelectorAll(".events tr[data-start]")) {
    row.classList.toggle("on", Number(row.dataset.start) <= now && now < Number(row.dataset.end));
  }
};

const followOn = (video) => {
  follow(video);
  if (!video.paused && video.isConnected) requestAnimationFrame(() => followOn(video));
};

$("when").addEventListener("click", (event) => {
  const video = document.querySelector("#stage video");
  if (!video) return;
  const moment = event.target.closest("[data-seek]");
  const lanes = event.target.closest(".lanes");
  if (moment) video.currentTime = offset() + Number(moment.dataset.seek);
  if (lanes) {
    const box = lanes.getBoundingClientRect();
    video.currentTime = offset() + Number(lanes.dataset.seconds) * (event.clientX - box.left) / box.width;
  }
});
