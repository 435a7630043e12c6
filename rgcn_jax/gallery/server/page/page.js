// The ranking: what is searched for, by which branch, under which conditions; marks and exports.
import { startQueries } from "./query.js";

export const $ = (id) => document.getElementById(id);

const ROWS = ["appearance", "fused", "pose"];
const state = { query: null, by: "fused", marks: {}, fused: [1, 1], asked: 0 };

export async function ask(path, options = {}) {
  const response = await fetch(path, options);
  if (!response.ok) {
    const text = await response.text();
    let message = text;
    try { message = JSON.parse(text).error || text; } catch { /* plain text */ }
    throw new Error(message || `status ${response.status}`);
  }
  return response;
}

export const asJson = (data) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data),
});

export function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

// Runs an action and shows its error.
export async function attempt(action) {
  try {
    await action();
  } catch (error) {
    say(error.message, true);
  }
}

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A time in UTC that is not broken into two lines.
export const shownTime = (text) => text.replace("T", " ").replace("Z", " UTC").replaceAll("-", "\u2011").replaceAll(" ", "\u00a0");

export function about(entry) {
  const parts = [];
  if (entry.person_id != null) parts.push(`person ${entry.person_id}`);
  parts.push(`camera ${entry.camera_id ?? "?"}`);
  if (entry.start) parts.push(shownTime(entry.start));
  parts.push(`${entry.num_frames} frames`);
  return parts.join(", ");
}

// A strip has its skeletons drawn by the server.
export function strip(path, text) {
  const picture = make("img", { className: "strip", alt: text, loading: "lazy" });
  picture.dataset.path = path;
  draw(picture);
  picture.addEventListener("error", () => picture.replaceWith(make("span", { className: "dim", textContent: "no frames available" })));
  return picture;
}

function draw(picture) {
  picture.src = picture.dataset.path + ($("skeletons").checked ? "?skeletons" : "");
}

// Whom to search for: {entry: ID} or {upload: NAME}.
export function choose(query, hasKeypoints, notes = []) {
  state.query = query;
  state.marks = {};
  state.notes = notes;
  $("forget").hidden = !query.upload;
  for (const id of ["by-fused", "by-pose", "weight"]) $(id).disabled = !hasKeypoints;
  if (!hasKeypoints && withPose()) {
    setBy("appearance");
    state.notes = [...notes, "no keypoints: by appearance only"];
  }
  markChosen();
  search().then(() => {
    if (matchMedia("(max-width: 900px)").matches) $("results").scrollIntoView(); // below the panel, there
  });
}

// Shows in the list which entry is searched for.
export function markChosen() {
  for (const button of document.querySelectorAll(".entry")) {
    button.setAttribute("aria-current", Number(button.dataset.id) === state.query?.entry);
  }
}

const withPose = () => !document.body.classList.contains("no-pose");

function conditions() {
  const boxes = [...$("cameras").querySelectorAll("input")];
  const chosen = boxes.filter((box) => box.checked).map((box) => Number(box.value));
  return {
    ...(chosen.length < boxes.length ? { cameras: chosen } : {}),
    after: $("seen-after").value || null,
    before: $("seen-before").value || null,
  };
}

const wanted = () => ({ query: state.query, by: state.by, k: Number($("k").value) || 20, ...conditions() });

async function search() {
  if (!state.query) return;
  const number = ++state.asked;
  try {
    const found = await (await ask("/api/search", asJson(wanted()))).json();
    if (number === state.asked) show(found); // an earlier answer may come later
  } catch (error) {
    if (number === state.asked) say(error.message, true);
  }
}

function show(found) {
  const count = found.matches.length;
  const notes = state.notes.length ? ` (${state.notes.join("; ")})` : "";
  const verdict = found.verdict
    ? ` "Same person" means a distance of at most ${found.verdict.threshold.toPrecision(4)}, false positive rate ${found.verdict.fpr}.` : "";
  say(`${count} ${count === 1 ? "entry" : "entries"}, nearest first${notes}.${verdict}`);
  const path = state.query.upload ? `/upload/${state.query.upload}.jpg` : `/strip/${state.query.entry}.jpg`;
  const title = state.query.upload ? "Upload" : `Entry ${state.query.entry}`;
  const text = state.query.upload ? `${found.query.num_frames} frames` : about(found.query);
  $("query").replaceChildren(make("div", { className: "row" },
    make("div", { className: "about" }, make("span", { className: "rank", textContent: `Query: ${title}` }), text),
    make("div", { className: "frames" }, strip(path, "frames of the query"))));
  $("matches").replaceChildren(...found.matches.map(row));
  $("exports").hidden = false;
}

function row(match) {
  const same = { true: ", same person", false: ", not the same" }[match.same] ?? "";
  const item = make("li", { className: "row" });
  item.dataset.id = match.id;
  const mark = (kind) => {
    const button = make("button", { className: `mark-${kind}`, textContent: kind === "right" ? "Right" : "Wrong" });
    button.setAttribute("aria-label", `${button.textContent}: rank ${match.rank}`);
    button.addEventListener("click", () => {
      if (state.marks[match.id] === kind) delete state.marks[match.id];
      else state.marks[match.id] = kind;
      paint(item, match.id);
    });
    return button;
  };
  item.append(
    make("div", { className: "about" },
      make("span", { className: "rank", textContent: `${match.rank}. distance ${match.distance.toFixed(4)}${same}` }),
      make("span", { textContent: about(match.entry) }), make("br"),
      make("span", { className: "dim", textContent: `entry ${match.id}: ${match.entry.tracklet}` })),
    make("div", { className: "frames" }, strip(`/strip/${match.id}.jpg`, `frames of entry ${match.id}`)),
    make("div", { className: "marks" }, mark("right"), mark("wrong")));
  paint(item, match.id);
  return item;
}

function paint(item, id) {
  for (const kind of ["right", "wrong"]) {
    item.classList.toggle(kind, state.marks[id] === kind);
    item.querySelector(`.mark-${kind}`).setAttribute("aria-pressed", state.marks[id] === kind);
  }
}

function setBy(by) {
  state.by = by;
  const weights = { appearance: [1, 0], pose: [0, 1], fused: state.fused }[by] ?? by;
  const share = weights[1] / (weights[0] + weights[1]);
  if (typeof by === "string") $("weight").value = Math.round(100 * share);
  $("weight-text").textContent = `${(1 - share).toFixed(2)} : ${share.toFixed(2)}`;
  for (const row of ROWS) $(`by-${row}`).setAttribute("aria-pressed", by === row);
}

async function exportAs(format) {
  const response = await ask("/api/export", asJson({ ...wanted(), format, marks: state.marks }));
  const url = URL.createObjectURL(await response.blob());
  make("a", { href: url, download: `ranking.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function forget() {
  await ask(`/api/queries/${state.query.upload}`, { method: "DELETE" });
  state.query = null;
  for (const id of ["query", "matches"]) $(id).replaceChildren();
  $("exports").hidden = true;
  say("The upload is forgotten. Choose whom to search for.");
}

function listen() {
  for (const row of ROWS) $(`by-${row}`).addEventListener("click", () => { setBy(row); search(); });
  let waiting;
  $("weight").addEventListener("input", () => {
    const share = Number($("weight").value) / 100;
    setBy([1 - share, share]);
    clearTimeout(waiting);
    waiting = setTimeout(search, 60);
  });
  for (const id of ["cameras", "seen-after", "seen-before", "k"]) $(id).addEventListener("change", search);
  $("skeletons").addEventListener("change", () => document.querySelectorAll("img.strip").forEach(draw));
  for (const format of ["csv", "json"]) $(format).addEventListener("click", () => attempt(() => exportAs(format)));
  $("forget").addEventListener("click", () => attempt(forget));
}

async function start() {
  const gallery = await (await ask("/api/gallery")).json();
  const times = gallery.first ? `, from ${shownTime(gallery.first)} to ${shownTime(gallery.last)}` : "";
  $("about").textContent = `${gallery.entries.toLocaleString("en")} entries${times}; model ${gallery.model}; signed in as ${gallery.user}`;
  state.fused = gallery.fused;
  if (!gallery.with_pose) {
    document.body.classList.add("no-pose");
    for (const element of document.querySelectorAll(".pose")) element.hidden = true;
  }
  for (const camera of gallery.cameras) {
    const name = camera || "unknown";
    $("cameras").append(make("label", { className: "check" },
      make("input", { type: "checkbox", value: camera, checked: true }), `${name}`));
    $("browse-camera").append(make("option", { value: camera, textContent: name }));
  }
  setBy(gallery.with_pose ? "fused" : "appearance");
  listen();
  await startQueries(gallery);
}

attempt(start);
