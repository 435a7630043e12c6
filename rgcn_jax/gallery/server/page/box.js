// A box that is drawn on the first frame of a video, or typed in.
const $ = (id) => document.getElementById(id);
const FIELDS = ["left", "top", "width", "height"].map((name) => `box-${name}`);
const canvas = $("canvas"), picture = new Image();
let corner = null;

export async function showFrame(path, width, height) {
  Object.assign(canvas, { width, height });
  picture.src = path;
  await picture.decode();
  setBox([0, 0, 0, 0]);
}

export const chosenBox = () => FIELDS.map((id) => Number($(id).value));

function setBox(box) {
  FIELDS.forEach((id, i) => { $(id).value = Math.round(box[i]); });
  draw();
}

function draw() {
  const context = canvas.getContext("2d");
  const [left, top, width, height] = chosenBox();
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  context.lineWidth = Math.max(2, canvas.width / 300);
  for (const [colour, dash] of [["#000", []], ["#ffd60a", [8, 6]]]) {
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.strokeRect(left, top, width, height);
  }
}

function place(event) {
  const area = canvas.getBoundingClientRect();
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);
  return [
    clamp((event.clientX - area.left) * canvas.width / area.width, canvas.width),
    clamp((event.clientY - area.top) * canvas.height / area.height, canvas.height),
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  corner = place(event);
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!corner) return;
  const [x, y] = place(event);
  setBox([Math.min(x, corner[0]), Math.min(y, corner[1]), Math.abs(x - corner[0]), Math.abs(y - corner[1])]);
});
canvas.addEventListener("pointerup", () => { corner = null; });
for (const id of FIELDS) $(id).addEventListener("input", draw);
