// The browser's side of ReadTheMatrix (matrix.py): choices, the matrix, and the images.

const PAGE = (id) => `
<div class="tools choices"></div>
<div class="grid">
  <section>
    <table class="matrix" aria-label="Confusion matrix: a row per true digit, a column per digit that was read">
      <thead></thead><tbody></tbody>
    </table>
    <p class="hint" id="${id}-keys">Click a cell, or move with <kbd>←</kbd> <kbd>↑</kbd>
      <kbd>→</kbd> <kbd>↓</kbd>. Colour shows the errors only.</p>
  </section>
  <section>
    <p class="verdict" role="status" aria-live="polite"></p>
    <p class="hint order"></p>
    <ul class="images"></ul>
  </section>
</div>
<p class="problem" role="alert" hidden></p>`;

const SETTINGS = ["model", "optimizer", "seed"];
const NAMES = { model: "Network", optimizer: "Optimizer", seed: "Seed" };

function render({ model, el }) {
  const id = `mnistkit-matrix-${++views}`;
  const find = begin(el, "matrix", PAGE(id));
  const digits = Array.from({ length: 10 }, (_, digit) => digit);
  const runs = model.get("runs");
  const selects = {};

  // A setting that all runs share is nothing to choose.
  SETTINGS.forEach((setting, at) => {
    const values = [...new Set(runs.map((run) => run[at]))];
    if (values.length < 2) return;
    const select = make("select", { id: `${id}-${setting}` });
    for (const value of values) select.append(make("option", { value, textContent: value }));
    select.addEventListener("change", () => {
      const value = values[select.selectedIndex];
      choose(model, setting, value);
    });
    const name = make("label", { htmlFor: select.id, textContent: NAMES[setting] });
    find(".choices").append(make("span", { className: "setting" }, [name, select]));
    selects[setting] = select;
  });

  const header = (text, scope) => make("th", { textContent: text, scope });
  const caption = make("th", { className: "corner", textContent: "true ↓  read →" });
  find("thead").append(make("tr", {}, [caption, ...digits.map((j) => header(j, "col"))]));
  const cells = digits.map((true_) => {
    const row = digits.map((read) => {
      const button = make("button", { type: "button", className: "cell" });
      button.addEventListener("click", () => choose(model, "cell", [true_, read]));
      button.addEventListener("keydown", (event) => {
        const to = stepped(event, true_, read, 10, 10);
        if (!to) return;
        cells[to[0]][to[1]].focus();
        choose(model, "cell", to);
      });
      return button;
    });
    const line = row.map((button) => make("td", {}, [button]));
    find("tbody").append(make("tr", {}, [header(true_, "row"), ...line]));
    return row;
  });

  function show() {
    // What the kernel answered may be behind what is chosen for a moment.
    const { matrix, images, count, run, cell } = model.get("shown");
    const [true_, read] = cell;
    const chosen = model.get("cell");
    const isRight = true_ === read;
    for (const [setting, select] of Object.entries(selects)) {
      select.value = model.get(setting);
    }
    const errors = (matrix ?? []).flatMap((row, i) => row.filter((_, j) => i !== j));
    const most = Math.max(1, ...errors);
    cells.forEach((row, i) =>
      row.forEach((button, j) => {
        const number = matrix?.[i][j] ?? 0;
        const isChosen = i === chosen[0] && j === chosen[1];
        const share = i === j ? 0 : number / most;
        button.textContent = number || "";
        button.classList.toggle("right", i === j);
        button.classList.toggle("dark", share > 0.55);
        button.style.setProperty("--share", `${Math.round(100 * share)}%`);
        button.tabIndex = isChosen ? 0 : -1;
        button.setAttribute("aria-pressed", isChosen);
        button.setAttribute("aria-label", `${number} images of a ${i} read as ${j}`);
      }),
    );
    const noun = count === 1 ? "image" : "images";
    find(".verdict").textContent = matrix
      ? `${count.toLocaleString("en")} ${noun} of a ${true_} read as ${read}`
      : "";
    const order = isRight ? "least sure first" : "surest first";
    const some = images.length < count ? `${images.length} of them, the ` : "The ";
    const meaning = isRight
      ? `Below each, the probability of the ${true_}.`
      : `Below each, the probability of the ${read} that was read, and of the ${true_} that it is.`;
    find(".order").textContent = images.length ? `${some}${order}. ${meaning}` : "";
    find(".images").replaceChildren(
      ...images.map(({ index, pixels, confidence, p_true }) => {
        const canvas = bitmap(28, `Test image ${index}`);
        canvas.title = `test image ${index}`;
        paint(canvas, pixels);
        const texts = [`${read}: ${percent(confidence)}`];
        if (!isRight) texts.push(`${true_}: ${percent(p_true)}`);
        const lines = texts.map((textContent) => make("span", { textContent }));
        return make("li", {}, [canvas, ...lines]);
      }),
    );
    el.dataset.shown = [...run, ...cell].join(" ");
    complain(find(".problem"), model.get("problem"));
  }

  return follow(model, ["shown", "problem", "cell"], show);
}

export default { render };
