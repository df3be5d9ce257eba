// Lays the attention over the pictures, for the whole answer or for the token that is chosen.
// Runs in the panel's own element: `element`, `watch` and `trigger` are Gradio's.
const PALETTE = [[13, 8, 70], [106, 0, 168], [177, 42, 144], [225, 100, 98], [252, 166, 54], [240, 249, 33]];
const LEAST_OPACITY = 70;  // of 255: a picture shows through where little attention lies
const MOST_OPACITY = 195;
let chosen = 0;

const maps = () => JSON.parse(element.querySelector(".wf-panel")?.dataset.maps ?? "null");
const tokens = () => [...element.querySelectorAll('[role="radio"]')];

function colour(value) {
  const at = value * (PALETTE.length - 1);
  const low = Math.min(Math.floor(at), PALETTE.length - 2);
  return PALETTE[low].map((part, index) => part + (PALETTE[low + 1][index] - part) * (at - low));
}

function opacity(value) {
  return LEAST_OPACITY + value * (MOST_OPACITY - LEAST_OPACITY);
}

function place(bytes, height, width) {
  // Where the middle of the attention lies, in words.
  let total = 0, down = 0, right = 0;
  bytes.forEach((value, index) => {
    total += value;
    down += value * (Math.floor(index / width) + 0.5) / height;
    right += value * ((index % width) + 0.5) / width;
  });
  if (!total) return "nowhere";
  const vertical = down / total < 0.42 ? "upper" : down / total > 0.58 ? "lower" : "";
  const horizontal = right / total < 0.42 ? "left" : right / total > 0.58 ? "right" : "";
  return vertical || horizontal ? `mostly ${[vertical, horizontal].filter(Boolean).join(" ")}` : "around the middle";
}

function draw() {
  const data = maps();
  if (!data) return;
  element.querySelectorAll("figure").forEach((figure, number) => {
    const { height, width, shares, bytes } = data.pictures[number];
    const all = Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0));
    const index = chosen < shares.length ? chosen : 0;
    const part = all.subarray(index * height * width, (index + 1) * height * width);
    const canvas = figure.querySelector("canvas");
    canvas.height = height;
    canvas.width = width;
    const pixels = canvas.getContext("2d").createImageData(width, height);
    part.forEach((value, at) => pixels.data.set([...colour(value / 255), opacity(value / 255)], 4 * at));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    const share = `${Math.round(shares[index] * 1000) / 10}% of the attention`;
    const token = data.tokens[index];
    canvas.setAttribute("aria-label",
      `Attention over picture ${number + 1} for ${token}: ${share}, ${place(part, height, width)}`);
    figure.querySelector("figcaption").textContent = `Picture ${number + 1}: ${share}`;
  });
}

function choose(button, focus) {
  for (const each of tokens()) {
    each.setAttribute("aria-checked", each === button);
    each.tabIndex = each === button ? 0 : -1;
  }
  if (focus) button.focus();
  chosen = Number(button.dataset.token) + 1;
  draw();
}

function begin() {
  chosen = 0;
  const first = tokens()[0];
  if (first) first.tabIndex = 0;
  draw();
}

element.addEventListener("click", (event) => {
  const button = event.target.closest('[role="radio"]');
  if (button) choose(button, false);
});
element.addEventListener("keydown", (event) => {
  const all = tokens();
  const at = all.indexOf(event.target.closest('[role="radio"]'));
  if (at < 0) return;
  const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  choose(all[(steps[event.key] + all.length) % all.length], true);
});
watch("value", begin);
begin();
