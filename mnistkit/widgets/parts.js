// What the widgets of this folder share; parts.py puts it before each one's script.

let views = 0; // ids and names of radio buttons are the view's own

function make(tag, properties = {}, children = []) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, children = []) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const percent = (p, digits = 1) => `${(100 * p).toFixed(digits)}%`;

// A number with three digits that count, such as 0.0123 or 4.5e+7.
function short(x) {
  if (x === null || !Number.isFinite(x)) return "not a number";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return x.toExponential(1);
  return String(Number(x.toPrecision(3)));
}

// A power of ten, such as 0.001, 1000 or 10⁶.
function power(exponent) {
  if (Math.abs(exponent) < 4) return short(10 ** exponent);
  const digits = [...String(exponent)].map((d) => (d === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]));
  return `10${digits.join("")}`;
}

// Begin a widget in its element; JupyterLab would take plain keys for its commands,
// such as x, which cuts the cell.
function begin(el, name, page) {
  el.classList.add("mnistkit", `mnistkit-${name}`);
  el.innerHTML = page;
  el.addEventListener("keydown", (event) => {
    const isCommand = event.ctrlKey || event.metaKey || event.altKey;
    const runsCell = event.key === "Enter" && event.shiftKey;
    if (!isCommand && !runsCell) event.stopPropagation();
  });
  return (selector) => el.querySelector(selector);
}

// Call `show` now and whenever one of the traits changes; return what ends that.
function follow(model, traits, show) {
  for (const trait of traits) model.on(`change:${trait}`, show);
  show();
  return () => {
    for (const trait of traits) model.off(`change:${trait}`, show);
  };
}

function choose(model, trait, value) {
  model.set(trait, value);
  model.save_changes();
}

// Show what went wrong in the kernel.
function complain(node, text) {
  node.textContent = text;
  node.hidden = !text;
}

// Paint greys on a canvas as ink on white paper: 255 is black. They arrive as a
// DataView, `at` is where they begin.
function paint(canvas, greys, at = 0) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const grey = 255 - greys.getUint8(at + i);
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

const [ABOVE, BELOW] = [
  [194, 86, 12],
  [0, 96, 170],
];

// The colour of a value between -top and top.
function shade(value, top) {
  const share = Math.min(Math.abs(value) / (top || 1), 1);
  return (value > 0 ? ABOVE : BELOW).map((c) => Math.round(255 + (c - 255) * share));
}

function largest(values) {
  let top = 0;
  for (const value of values) top = Math.max(top, Math.abs(value));
  return top;
}

// Paint values: orange above zero, blue below it, white at zero.
function paintSigned(canvas, values, top = largest(values)) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, i) => image.data.set([...shade(value, top), 255], 4 * i));
  context.putImageData(image, 0, 0);
}

// Floats that arrived as a DataView, which may begin anywhere in its buffer.
function floats(view) {
  const values = new Float32Array(view.byteLength / 4);
  for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
  return values;
}

function bitmap(side, label) {
  const canvas = make("canvas", { width: side, height: side, className: "bitmap" });
  if (label) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
  } else {
    canvas.setAttribute("aria-hidden", "true");
  }
  return canvas;
}

// Move in a grid with the arrow keys: returns the new [row, column], or null.
function stepped(event, row, column, rows, columns) {
  const steps = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
  };
  const step = steps[event.key];
  if (!step) return null;
  event.preventDefault();
  const within = (x, n) => Math.min(Math.max(x, 0), n - 1);
  return [within(row + step[0], rows), within(column + step[1], columns)];
}

// About `n` round numbers between low and high.
function ticks(low, high, n = 4) {
  const raw = (high - low) / n || 1;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    found.push(Number((i * step).toPrecision(10)));
  }
  return found;
}

// Curves as an SVG. Each of `series` has a name and points [x, y], drawn as the class
// "series-0", "series-1" says; x and y are [low, high]. A logarithmic y has a tick at
// each power of ten, or at fewer.
function chart({ title, xlabel, label, series, x, y, log = false, whole = true, mark }) {
  const [width, height] = [360, 230];
  const [left, right, top, bottom] = [50, 14, 42, 38];
  const scaled = (value) => (log ? Math.log10(value) : value);
  const [low, high] = y.map(scaled);
  const across = (value) =>
    left + ((value - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const up = (value) =>
    height - bottom - ((scaled(value) - low) / (high - low || 1)) * (height - top - bottom);
  const node = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "chart",
    role: "img",
    "aria-label": label,
  });
  const text = (content, attributes) => {
    const item = draw("text", attributes);
    item.textContent = content;
    node.append(item);
    return item;
  };
  const line = (x1, y1, x2, y2, kind) =>
    node.append(draw("line", { x1, y1, x2, y2, class: kind }));
  text(title, { x: 2, y: 14, class: "title" });
  let heights = log
    ? Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i)
    : ticks(low, high);
  if (log && heights.length > 6) {
    const every = Math.ceil(heights.length / 5);
    heights = heights.filter((exponent) => exponent % every === 0);
  }
  for (const tick of heights) {
    const at = up(log ? 10 ** tick : tick);
    line(left, at, width - right, at, "rule");
    text(log ? power(tick) : short(tick), { x: left - 6, y: at + 4, class: "tick end" });
  }
  for (const tick of ticks(x[0], x[1], 6)) {
    if (whole && !Number.isInteger(tick)) continue;
    text(short(tick), { x: across(tick), y: height - bottom + 17, class: "tick middle" });
  }
  line(left, height - bottom, width - right, height - bottom, "axis");
  text(xlabel, { x: (left + width - right) / 2, y: height - 4, class: "tick middle" });
  if (mark !== undefined) line(across(mark), top, across(mark), height - bottom, "mark");
  // An inner SVG cuts off what lies outside: a curve leaves the picture.
  const [edge, broad, tall] = [4, width - left - right, height - top - bottom];
  const plane = draw("svg", {
    x: left - edge,
    y: top - edge,
    width: broad + 2 * edge,
    height: tall + 2 * edge,
    viewBox: [left - edge, top - edge, broad + 2 * edge, tall + 2 * edge].join(" "),
  });
  node.append(plane);
  let at = left;
  series.forEach(({ name, points }, index) => {
    const kind = `series-${index}`;
    const places = points
      .filter(([, value]) => Number.isFinite(value) && (!log || value > 0) && value !== null)
      .map(([a, b]) => [across(a), up(b)]);
    plane.append(draw("polyline", { points: places.join(" "), class: `curve ${kind}` }));
    if (places.length <= 30) {
      for (const [cx, cy] of places) {
        plane.append(draw("circle", { cx, cy, r: 3, class: `dot ${kind}` }));
      }
    }
    if (series.length > 1) {
      line(at, 28, at + 20, 28, `curve ${kind}`);
      text(name, { x: at + 25, y: 32, class: "tick" });
      at += 42 + 6.6 * name.length;
    }
  });
  return node;
}
