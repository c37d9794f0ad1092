// The browser's side of Ravine (ravine.py): sliders, and the path that the kernel walks.

const PAGE = (id) => `
<div class="grid">
  <section class="choices">
    <fieldset class="rules"><legend>Optimizer</legend></fieldset>
    <div class="slider">
      <label for="${id}-lr">Learning rate</label><output class="lr" for="${id}-lr"></output>
      <input id="${id}-lr" class="lr" type="range" step="1" min="0">
    </div>
    <div class="slider">
      <label for="${id}-mu">Momentum</label><output class="momentum" for="${id}-mu"></output>
      <input id="${id}-mu" class="momentum" type="range" step="1" min="0">
    </div>
    <p class="hint"></p>
  </section>
  <section class="views">
    <p class="verdict" role="status" aria-live="polite"></p>
    <div class="valley"></div>
    <div class="heights"></div>
  </section>
</div>
<p class="problem" role="alert" hidden></p>`;

// The part of the plane that is drawn, and its size on the screen.
const [X, Y] = [
  [-10.5, 4.5],
  [-2.4, 2.4],
];
const [WIDTH, HEIGHT] = [600, 250];
const across = (w1) => ((w1 - X[0]) / (X[1] - X[0])) * WIDTH;
const up = (w2) => HEIGHT - ((w2 - Y[0]) / (Y[1] - Y[0])) * HEIGHT;

function valley({ places, diverged }, { start, steepness }, words) {
  const node = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: "plane",
    role: "img",
    "aria-label": words,
  });
  for (const level of [0.5, 3, 12, 40, 80]) {
    const rx = (Math.sqrt(2 * level) / (X[1] - X[0])) * WIDTH;
    const ry = (Math.sqrt((2 * level) / steepness) / (Y[1] - Y[0])) * HEIGHT;
    node.append(draw("ellipse", { cx: across(0), cy: up(0), rx, ry, class: "level" }));
  }
  // Places far outside are drawn where the line to them leaves the picture, or nearly.
  const far = (value) => Math.min(Math.max(value, -1e4), 1e4);
  const points = places.map(([w1, w2]) => [far(across(w1)), far(up(w2))]);
  const kind = diverged ? "path away" : "path";
  node.append(draw("polyline", { points: points.join(" "), class: kind }));
  for (const [cx, cy] of points) {
    if (cx < 0 || cx > WIDTH || cy < 0 || cy > HEIGHT) continue;
    node.append(draw("circle", { cx, cy, r: 2.6, class: `step ${kind}` }));
  }
  const [cx, cy] = [across(start[0]), up(start[1])];
  node.append(draw("circle", { cx, cy, r: 6, class: "start" }));
  const star = Array.from({ length: 10 }, (_, i) => {
    const [angle, radius] = [(i * Math.PI) / 5, i % 2 ? 4 : 10];
    return [across(0) + radius * Math.sin(angle), up(0) - radius * Math.cos(angle)];
  });
  node.append(draw("polygon", { points: star.join(" "), class: "goal" }));
  return node;
}

function render({ model, el }) {
  const id = `mnistkit-ravine-${++views}`;
  const find = begin(el, "ravine", PAGE(id));
  const rules = {};
  for (const name of model.get("names")) {
    const input = make("input", { type: "radio", name: `${id}-rule`, value: name });
    input.addEventListener("change", () => ask({ rule: name }));
    find(".rules").append(make("label", { className: "choice" }, [input, name]));
    rules[name] = input;
  }
  const sliders = {
    lr: { input: find("input.lr"), output: find("output.lr"), values: model.get("rates") },
    momentum: {
      input: find("input.momentum"),
      output: find("output.momentum"),
      values: model.get("momenta"),
    },
  };
  const nearest = (values, value) =>
    values.reduce((best, v, i) => (Math.abs(v - value) < Math.abs(values[best] - value) ? i : best), 0);

  // One question at a time is on its way; the last one is sent once it is answered.
  let waiting = false;
  let next = null;

  function ask(choice) {
    next = { ...next, ...choice };
    for (const [trait, value] of Object.entries(next)) {
      if (trait in sliders) sliders[trait].output.textContent = value;
    }
    if (waiting) return;
    const isNew = Object.entries(next).some(([trait, value]) => model.get(trait) !== value);
    if (isNew) {
      waiting = true;
      model.set(next);
      model.save_changes();
    }
    next = null;
  }

  function answered() {
    const walked = model.get("walked");
    const traits = ["rule", "lr", "momentum"];
    waiting = waiting && traits.some((trait) => walked[trait] !== model.get(trait));
    show();
    if (!waiting && next) ask({});
  }

  function show() {
    const walked = model.get("walked");
    const { low, steps } = model.get("shape");
    for (const [name, input] of Object.entries(rules)) {
      input.checked = name === (next?.rule ?? model.get("rule"));
    }
    for (const [trait, { input, output, values }] of Object.entries(sliders)) {
      if (next?.[trait] !== undefined) continue; // it is being moved
      const value = model.get(trait);
      input.value = nearest(values, value);
      output.textContent = value;
      input.setAttribute("aria-valuetext", value);
    }
    sliders.momentum.input.disabled = !walked.has_momentum;
    if (!walked.has_momentum) sliders.momentum.output.textContent = "none";
    find(".hint").textContent = walked.has_momentum
      ? "Arrow keys move a slider by one step."
      : `${walked.rule} has no momentum. Arrow keys move a slider by one step.`;
    const last = walked.heights[walked.heights.length - 1];
    const arrived = walked.heights.findIndex((f) => f !== null && f < low);
    let words = `After ${steps} steps the height f is ${short(last)}.`;
    if (walked.diverged) {
      words = `It diverges: after ${walked.places.length - 1} steps f is ${
        last === null ? "beyond all numbers" : short(last)
      }.`;
    } else if (arrived >= 0) words = `f is below ${low} after ${arrived} steps.`;
    if (walked.heights.length === 0) words = "";
    find(".verdict").textContent = words;
    find(".verdict").classList.toggle("away", Boolean(walked.diverged));
    const alt = `The path of ${walked.rule}, learning rate ${walked.lr}. ${words}`;
    find(".valley").replaceChildren(valley(walked, model.get("shape"), alt));
    find(".heights").replaceChildren(
      chart({
        title: "Height f after each step",
        xlabel: "step",
        label: `Height after each step. ${words}`,
        series: [{ name: "f", points: walked.heights.map((f, i) => [i, f ?? NaN]) }],
        x: [0, steps],
        y: [1e-6, 1e6],
        log: true,
      }),
    );
    complain(find(".problem"), model.get("problem"));
    el.dataset.shown = [walked.rule, walked.lr, walked.momentum].join(" ");
  }

  for (const [trait, { input, values }] of Object.entries(sliders)) {
    input.max = values.length - 1;
    input.addEventListener("input", () => {
      input.setAttribute("aria-valuetext", values[input.value]);
      ask({ [trait]: values[input.value] });
    });
  }
  return follow(model, ["walked", "problem"], answered);
}

export default { render };
