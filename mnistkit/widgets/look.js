// The browser's side of LookInside (look.py). The numbers of all layers arrive with an
// image; which pixel, kernel and layer are shown is chosen here, without the kernel.

const PAGE = (id) => `
<fieldset class="images"><legend>Image</legend></fieldset>
<fieldset class="kernels"><legend>Kernel of the first convolution</legend></fieldset>
<div class="grid">
  <section>
    <p class="heading">The image, and the patch behind the pixel</p>
    <div class="frame"><canvas class="bitmap image" width="28" height="28" aria-hidden="true">
      </canvas><div class="box patch" aria-hidden="true"></div></div>
  </section>
  <section>
    <p class="heading">What the kernel makes of it: choose a pixel</p>
    <div class="frame"><canvas class="bitmap map" tabindex="0" role="application"
      aria-label="Map of the kernel: arrow keys choose a pixel"
      aria-describedby="${id}-sum"></canvas>
      <div class="box pixel" aria-hidden="true"></div></div>
  </section>
  <section class="arithmetic">
    <p class="sum verdict" id="${id}-sum" role="status" aria-live="polite"></p>
    <div class="factors">
      <figure><figcaption>patch</figcaption><table class="numbers a"></table></figure>
      <span class="sign" aria-hidden="true">×</span>
      <figure><figcaption>kernel</figcaption><table class="numbers b"></table></figure>
      <span class="sign" aria-hidden="true">=</span>
      <figure><figcaption>products</figcaption><table class="numbers c"></table></figure>
    </div>
    <p class="hint">Orange is above zero, blue below. Click the map, or move in it with
      <kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd>. Paper is not 0: the pixels are
      given to the network normalised.</p>
  </section>
</div>
<div class="tools"><label class="heading" for="${id}-layer">Feature maps after layer</label>
  <select id="${id}-layer" class="layer"></select></div>
<div class="maps"></div>
<p class="problem" role="alert" hidden></p>`;

function render({ model, el }) {
  const id = `mnistkit-look-${++views}`;
  const find = begin(el, "look", PAGE(id));
  const { biases, side, stride, padding } = model.get("convolution");
  const kernels = floats(model.get("convolution").kernels);
  const layers = model.get("layers");
  const [, high, wide] = layers[0].shape;
  const image = find(".image");
  const map = find(".map");
  Object.assign(map, { width: wide, height: high });

  function radios(fieldset, trait, count, name, picture) {
    return Array.from({ length: count }, (_, i) => {
      const input = make("input", { type: "radio", name: `${id}-${trait}`, value: i });
      input.setAttribute("aria-label", name(i));
      input.addEventListener("change", () => choose(model, trait, i));
      const choice = make("label", { className: "picture-choice", title: name(i) });
      choice.append(input, picture(i));
      fieldset.append(choice);
      return input;
    });
  }

  const thumbnails = model.get("thumbnails");
  const images = radios(
    find(".images"),
    "index",
    thumbnails.byteLength / 784,
    (i) => `Image ${i + 1}`,
    (i) => {
      const canvas = bitmap(28);
      paint(canvas, thumbnails, 784 * i);
      return canvas;
    },
  );
  const ofKernel = (i) => kernels.subarray(side * side * i, side * side * (i + 1));
  const choices = radios(
    find(".kernels"),
    "kernel",
    biases.length,
    (i) => `Kernel ${i + 1}`,
    (i) => {
      const canvas = bitmap(side);
      paintSigned(canvas, ofKernel(i));
      return canvas;
    },
  );
  layers.forEach(({ name, shape }, i) => {
    const text = `${i + 1}: ${name}, ${shape.join(" × ")}`;
    find(".layer").append(make("option", { value: i, textContent: text }));
  });
  find(".layer").addEventListener("change", (event) =>
    choose(model, "layer", Number(event.target.value)),
  );

  function table(selector, values) {
    const top = largest(values);
    const rows = Array.from({ length: side }, (_, row) =>
      make(
        "tr",
        {},
        Array.from({ length: side }, (_, column) => {
          const value = values[side * row + column];
          const cell = make("td", { textContent: value.toFixed(2).replace("-", "−") });
          const colour = shade(value, top);
          cell.style.background = `rgb(${colour})`;
          const light = (0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]) / 255;
          cell.style.color = light > 0.55 ? "#111" : "#fff";
          return cell;
        }),
      ),
    );
    find(selector).replaceChildren(make("tbody", {}, rows));
  }

  function frame(box, left, top, size, whole) {
    Object.assign(box.style, {
      left: `${(100 * left) / whole[1]}%`,
      top: `${(100 * top) / whole[0]}%`,
      width: `${(100 * size) / whole[1]}%`,
      height: `${(100 * size) / whole[0]}%`,
    });
  }

  let pixels, maps; // of the chosen image

  function showImage() {
    const { index, image: given, maps: arrived } = model.get("looked");
    pixels = floats(given);
    maps = arrived.map(floats);
    paint(image, thumbnails, 784 * index);
    images.forEach((input, i) => (input.checked = i === model.get("index")));
    complain(find(".problem"), model.get("problem"));
    showPixel();
    showLayer();
  }

  function showPixel() {
    const kernel = model.get("kernel");
    const [row, column] = model.get("place");
    const mine = maps[0].subarray(high * wide * kernel, high * wide * (kernel + 1));
    paintSigned(map, mine);
    choices.forEach((input, i) => (input.checked = i === kernel));
    const [top, left] = [stride * row - padding, stride * column - padding];
    frame(find(".patch"), left, top, side, [28, 28]);
    frame(find(".pixel"), column, row, 1, [high, wide]);
    const weights = ofKernel(kernel);
    const patch = weights.map((_, i) => {
      const [y, x] = [top + Math.floor(i / side), left + (i % side)];
      const isInside = y >= 0 && y < 28 && x >= 0 && x < 28;
      return isInside ? pixels[28 * y + x] : 0; // the padding
    });
    const products = weights.map((weight, i) => weight * patch[i]);
    table(".a", patch);
    table(".b", weights);
    table(".c", products);
    // Rounded as they are shown, so that a reader who adds them finds the third.
    const rounded = (x) => Math.round(1000 * x) / 1000;
    const sum = rounded(products.reduce((total, product) => total + product, 0));
    const bias = rounded(biases[kernel]);
    const minus = (x) => x.toFixed(3).replace("-", "−");
    find(".sum").textContent =
      `Row ${row}, column ${column}: the ${side * side} products add up to ` +
      `${minus(sum)}. With the bias ${minus(bias)} that is ` +
      `${minus(sum + bias)}; the network's map has ` +
      `${minus(mine[wide * row + column])}.`;
  }

  function showLayer() {
    const layer = model.get("layer");
    const [count, height, width] = layers[layer].shape;
    find(".layer").value = layer;
    const text = `${count} feature maps after layer ${layer + 1}, ${layers[layer].name}`;
    find(".maps").setAttribute("role", "img");
    find(".maps").setAttribute("aria-label", text);
    find(".maps").replaceChildren(
      ...Array.from({ length: count }, (_, i) => {
        const canvas = make("canvas", { width, height, className: "bitmap" });
        const size = height * width;
        paintSigned(canvas, maps[layer].subarray(size * i, size * (i + 1)));
        return canvas;
      }),
    );
  }

  function point(event) {
    const box = map.getBoundingClientRect();
    const at = (share, n) => Math.min(Math.max(Math.floor(share * n), 0), n - 1);
    const row = at((event.clientY - box.top) / box.height, high);
    choose(model, "place", [row, at((event.clientX - box.left) / box.width, wide)]);
  }

  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    point(event);
  });
  map.addEventListener("pointermove", (event) => {
    if (map.hasPointerCapture(event.pointerId)) point(event);
  });
  map.addEventListener("keydown", (event) => {
    const to = stepped(event, ...model.get("place"), high, wide);
    if (to) choose(model, "place", to);
  });
  const ends = [
    follow(model, ["looked", "problem"], showImage),
    follow(model, ["kernel", "place"], showPixel),
    follow(model, ["layer"], showLayer),
  ];
  return () => ends.forEach((end) => end());
}

export default { render };
