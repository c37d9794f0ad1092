// The browser's side of ScrubTime (scrub.py). All epochs arrive at the beginning, so the
// slider needs no kernel.

const PAGE = (id) => `
<div class="time">
  <button type="button" class="play">Play</button>
  <label for="${id}-epoch">Epoch</label>
  <input id="${id}-epoch" class="epoch" type="range" min="0" step="1">
  <output for="${id}-epoch"></output>
</div>
<p class="verdict" role="status" aria-live="polite"></p>
<div class="grid">
  <section>
    <p class="heading">Confusion matrix: a row per true digit, a column per digit read</p>
    <table class="matrix"><thead></thead><tbody></tbody></table>
    <p class="hint">The strongest colour is the most frequent error of the epoch.</p>
  </section>
  <section>
    <p class="heading">Filters of the first layer, all epochs on one scale</p>
    <div class="filters" role="img"></div>
    <div class="charts"></div>
  </section>
  <section>
    <fieldset class="images"><legend>Follow an image</legend></fieldset>
    <p class="reading"></p>
    <ol class="bars" aria-label="Probability of each digit"></ol>
  </section>
</div>`;

const PACE = 700; // milliseconds for an epoch

function render({ model, el }) {
  const id = `mnistkit-scrub-${++views}`;
  const find = begin(el, "scrub", PAGE(id));
  const digits = Array.from({ length: 10 }, (_, digit) => digit);
  const accuracies = model.get("accuracies");
  const errorRates = accuracies.map((p) => 100 * (1 - p));
  const matrices = model.get("matrices");
  const images = model.get("images");
  const last = accuracies.length - 1;
  const [, count, side] = model.get("filters").shape;
  const weights = floats(model.get("filters").values);
  const top = largest(weights);
  const slider = find("input.epoch");
  slider.max = last;

  const header = (text, scope) => make("th", { textContent: text, scope });
  find("thead").append(make("tr", {}, [make("td"), ...digits.map((j) => header(j, "col"))]));
  const cells = digits.map((i) => {
    const row = digits.map(() => make("td", { className: "cell" }));
    find("tbody").append(make("tr", {}, [header(i, "row"), ...row]));
    return row;
  });
  const filters = Array.from({ length: count }, () => bitmap(side));
  find(".filters").append(...filters);
  const choices = images.map(({ pixels, label, index }, i) => {
    const input = make("input", { type: "radio", name: `${id}-image`, value: i });
    const name = `Test image ${index}, a ${label}`;
    input.setAttribute("aria-label", name);
    input.addEventListener("change", () => choose(model, "index", i));
    const canvas = bitmap(28);
    paint(canvas, pixels);
    find(".images").append(
      make("label", { className: "picture-choice", title: name }, [input, canvas]),
    );
    return input;
  });
  const bars = digits.map((digit) => {
    const bar = make("span", { className: "bar" });
    const share = make("span", { className: "share" });
    const row = make("li", {}, [
      make("span", { textContent: digit }),
      make("span", { className: "track" }, [bar]),
      share,
    ]);
    find(".bars").append(row);
    return { row, bar, share };
  });

  function showEpoch() {
    const epoch = Math.min(model.get("epoch"), last);
    const when = epoch ? `After epoch ${epoch}` : "Before the training";
    slider.value = epoch;
    slider.setAttribute("aria-valuetext", when);
    find("output").textContent = `${epoch} of ${last}`;
    find(".verdict").textContent =
      `${when} ${percent(accuracies[epoch])} of the test images are read correctly.`;
    const matrix = matrices[epoch];
    const errors = matrix.flatMap((row, i) => row.filter((_, j) => i !== j));
    const most = Math.max(1, ...errors);
    cells.forEach((row, i) =>
      row.forEach((cell, j) => {
        const share = i === j ? 0 : matrix[i][j] / most;
        cell.textContent = matrix[i][j] || "";
        cell.classList.toggle("right", i === j);
        cell.classList.toggle("dark", share > 0.55);
        cell.style.setProperty("--share", `${Math.round(100 * share)}%`);
      }),
    );
    const size = side * side;
    filters.forEach((canvas, i) => {
      const at = size * (count * epoch + i);
      paintSigned(canvas, weights.subarray(at, at + size), top);
    });
    find(".filters").setAttribute("aria-label", `${count} filters. ${when}.`);
    find(".charts").replaceChildren(
      chart({
        title: "Error on the test images (%)",
        xlabel: "epoch",
        label: `Error by epoch. ${find(".verdict").textContent}`,
        series: [{ name: "test", points: errorRates.map((p, i) => [i, p]) }],
        x: [0, last],
        y: [Math.min(1, ...errorRates.filter((p) => p > 0)), 100],
        log: true,
        mark: epoch,
      }),
    );
    showImage();
  }

  function showImage() {
    const epoch = Math.min(model.get("epoch"), last);
    const { label, probabilities } = images[model.get("index")];
    const row = probabilities[epoch];
    const read = row.indexOf(Math.max(...row));
    choices.forEach((input, i) => (input.checked = i === model.get("index")));
    find(".reading").textContent = `A ${label}, read as ${read} (${percent(row[read])}).`;
    bars.forEach(({ row: line, bar, share }, digit) => {
      line.classList.toggle("top", digit === read);
      line.classList.toggle("label", digit === label);
      bar.style.width = `${100 * row[digit]}%`;
      share.textContent = percent(row[digit]);
    });
  }

  let timer = null;
  const play = find(".play");

  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  play.addEventListener("click", () => {
    if (timer) return pause();
    play.textContent = "Pause";
    if (model.get("epoch") >= last) choose(model, "epoch", 0);
    timer = setInterval(() => {
      choose(model, "epoch", Math.min(model.get("epoch") + 1, last));
      if (model.get("epoch") >= last) pause();
    }, PACE);
  });
  slider.addEventListener("input", () => {
    pause();
    choose(model, "epoch", Number(slider.value));
  });
  const ends = [follow(model, ["epoch"], showEpoch), follow(model, ["index"], showImage)];
  return () => {
    pause();
    ends.forEach((end) => end());
  };
}

export default { render };
