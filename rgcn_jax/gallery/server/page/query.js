// Whom to search for: an entry of the gallery, uploaded crops, or a person in an uploaded video.
import { $, about, ask, asJson, attempt, choose, make, markChosen, say, strip } from "./page.js";
import { chosenBox, showFrame } from "./box.js";

const PAGE = 24;
let offset = 0, video = null, withPose = true;

export async function startQueries(gallery) {
  withPose = gallery.with_pose;
  const tabs = ["entries", "crops", "video"];
  for (const tab of tabs) {
    $(`tab-${tab}`).addEventListener("click", () => {
      for (const other of tabs) {
        $(`tab-${other}`).setAttribute("aria-selected", other === tab);
        $(`pick-${other}`).hidden = other !== tab;
      }
    });
  }
  const listFrom = (start) => { offset = start; return attempt(list); };
  $("browse-camera").addEventListener("change", () => listFrom(0));
  $("before").addEventListener("click", () => listFrom(Math.max(0, offset - PAGE)));
  $("after-page").addEventListener("click", () => listFrom(offset + PAGE));
  $("track").addEventListener("change", showBoxPart);
  $("pick-crops").addEventListener("submit", (event) => send(event, uploadCrops));
  $("video-form").addEventListener("submit", (event) => send(event, uploadVideo));
  $("person-form").addEventListener("submit", (event) => send(event, cutOut));
  await list();
}

async function list() {
  const camera = $("browse-camera").value;
  const found = await (await ask("/api/entries", asJson({ offset, ...(camera ? { cameras: [Number(camera)] } : {}) }))).json();
  $("entries").replaceChildren(...found.entries.map((entry) => {
    const button = make("button", { className: "entry", type: "button" },
      strip(`/strip/${entry.id}.jpg`, ""),
      make("span", { textContent: `${entry.id}: ${about(entry)}` }),
      make("span", { className: "dim", textContent: entry.tracklet }));
    button.dataset.id = entry.id;
    button.addEventListener("click", () => choose({ entry: entry.id }, true));
    return button;
  }));
  markChosen();
  const last = Math.min(offset + PAGE, found.count);
  $("place").textContent = found.count ? `${offset + 1} to ${last} of ${found.count.toLocaleString("en")}` : "none";
  $("before").disabled = offset === 0;
  $("after-page").disabled = last >= found.count;
}

// Runs a form's action; its button is disabled meanwhile.
async function send(event, action) {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  say("Working ...");
  await attempt(action);
  button.disabled = false;
}

const searchFor = (found) => choose({ upload: found.upload }, !withPose || found.keypoints != null, found.notes);

async function uploadCrops() {
  const form = new FormData();
  for (const file of $("crops").files) form.append("files", file, file.name);
  if ($("keypoints").files.length) form.append("keypoints", $("keypoints").files[0]);
  searchFor(await (await ask("/api/queries", { method: "POST", body: form })).json());
}

async function uploadVideo() {
  const form = new FormData();
  form.append("video", $("video").files[0]);
  if ($("tracks").files.length) form.append("tracks", $("tracks").files[0]);
  video = await (await ask("/api/videos", { method: "POST", body: form })).json();
  $("track-label").hidden = !video.tracks.length;
  $("track").replaceChildren(make("option", { value: "", textContent: "draw a box" }),
    ...video.tracks.map(([id, count]) => make("option", { value: id, textContent: `${id} (${count} frames)` })));
  if (video.tracks.length) $("track").value = video.tracks[0][0];
  showBoxPart();
  $("person-form").hidden = false;
  await showFrame(`/video/${video.video}.jpg`, video.width, video.height);
  say("Choose the person.");
}

// The box is asked for where no track is chosen; disabled, for a browser does not send a form with a hidden field that is invalid.
function showBoxPart() {
  $("box-part").hidden = $("box-part").disabled = $("track").value !== "";
}

async function cutOut() {
  const track = $("track").value;
  const chosen = track ? { track: Number(track) } : { box: chosenBox() };
  searchFor(await (await ask(`/api/videos/${video.video}/person`, asJson(chosen))).json());
}
