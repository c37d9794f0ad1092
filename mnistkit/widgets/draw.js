// The browser's side of DrawADigit (draw.py). It draws, sends the ink, and shows what
// came back; which input and which network are shown is chosen here, without the kernel.

const SIDE = 280; // pixels of each side of the canvas, as in draw.py
const PEN = 21; // width of a stroke
const STEP = 14; // way of the pen at one press of an arrow key
const INK = "#16202c";
const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

const PAGE = (id) => `
<div class="grid">
  <section class="pad">
    <div class="frame">
      <canvas class="paper" width="${SIDE}" height="${SIDE}" tabindex="0"
        role="application" aria-label="Drawing area" aria-describedby="${id}-keys">
      </canvas>
      <div class="invitation" aria-hidden="true">Draw a digit</div>
      <div class="cursor" aria-hidden="true" hidden></div>
    </div>
    <div class="tools">
      <button type="button" class="clear">Clear</button>
      <p class="hint" id="${id}-keys">Keys: <kbd>space</kbd> puts the pen down or lifts
        it, <kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd> move it.</p>
    </div>
  </section>
  <fieldset class="inputs"><legend>The network is given</legend></fieldset>
  <section class="answer">
    <p class="verdict" role="status" aria-live="polite"></p>
    <ol class="bars" aria-label="Probability of each digit"></ol>
  </section>
  <fieldset class="votes"><legend>How the networks vote</legend></fieldset>
  <section class="nearest">
    <p class="heading"></p>
    <ol class="images"></ol>
  </section>
</div>
<p class="problem" role="alert" hidden></p>`;

const best = (row) => row.indexOf(Math.max(...row));

// Paint 784 greys, a DataView, as the network sees them: 255 is white. None: clear.
function paintSeen(canvas, pixels) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, 28, 28);
  if (!pixels) return;
  const image = context.createImageData(28, 28);
  for (let i = 0; i < 784; i++) {
    const grey = pixels.getUint8(i);
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

// One radio button per choice, bound to a trait; returns what each shows.
function radios(model, fieldset, id, trait, choices, content) {
  const rows = {};
  for (const choice of choices) {
    const input = make("input", {
      type: "radio",
      name: `${id}-${trait}`,
      value: choice,
    });
    input.addEventListener("change", () => choose(model, trait, choice));
    const row = content(choice);
    fieldset.append(make("label", { className: "choice" }, [input, ...row.nodes]));
    rows[choice] = { input, ...row };
  }
  return rows;
}

function render({ model, el }) {
  const id = `mnistkit-draw-${++views}`;
  const find = begin(el, "draw", PAGE(id));
  const paper = find(".paper");
  const cursor = find(".cursor");
  const context = paper.getContext("2d", { willReadFrequently: true });
  Object.assign(context, {
    lineWidth: PEN,
    lineCap: "round",
    lineJoin: "round",
    strokeStyle: INK,
  });

  // --- what came back -----------------------------------------------------------

  const inputs = radios(
    model,
    find(".inputs"),
    id,
    "given",
    Object.keys(model.get("inputs")),
    (given) => {
      const image = bitmap(28);
      const says = make("span", { className: "says" });
      const how = make("small", { textContent: model.get("inputs")[given] });
      const text = make("span", { className: "text" }, [
        make("b", { textContent: given }),
        how,
        says,
      ]);
      return { nodes: [image, text], image, says };
    },
  );
  const votes = radios(model, find(".votes"), id, "network", model.get("names"), (name) => {
    const says = make("span", { className: "says" });
    const digit = make("span", { className: "digit" });
    return { nodes: [make("span", { textContent: name }), digit, says], digit, says };
  });
  const bars = Array.from({ length: 10 }, (_, digit) => {
    const bar = make("span", { className: "bar" });
    const share = make("span", { className: "share" });
    const track = make("span", { className: "track" }, [bar]);
    const row = make("li", {}, [
      make("span", { className: "digit", textContent: digit }),
      track,
      share,
    ]);
    find(".bars").append(row);
    return { row, bar, share };
  });

  function show() {
    const { inputs: images, probabilities, nearest } = model.get("reading");
    const [given, network] = [model.get("given"), model.get("network")];
    const has = Boolean(images);
    el.classList.toggle("blank", !has);
    for (const [name, { input, image, says }] of Object.entries(inputs)) {
      input.checked = name === given;
      paintSeen(image, images?.[name]);
      const row = probabilities?.[network][name];
      says.textContent = has ? `reads ${best(row)}, ${percent(Math.max(...row))}` : "";
    }
    for (const [name, { input, digit, says }] of Object.entries(votes)) {
      input.checked = name === network;
      const row = probabilities?.[name][given];
      digit.textContent = has ? best(row) : "–";
      says.textContent = has ? percent(Math.max(...row)) : "";
    }
    const row = probabilities?.[network][given] ?? Array(10).fill(0);
    const top = has ? best(row) : null;
    bars.forEach(({ row: line, bar, share }, digit) => {
      line.classList.toggle("top", digit === top);
      bar.style.width = `${100 * row[digit]}%`;
      share.textContent = has ? percent(row[digit]) : "";
    });
    const number = make("b", { className: "read", textContent: top });
    find(".verdict").replaceChildren(
      ...(has ? [`${network} reads `, number] : [`${network} waits for a digit`]),
    );
    const among = model.get("compared").toLocaleString("en");
    find(".heading").textContent =
      `The nearest of ${among} training images, pixel by pixel`;
    find(".images").replaceChildren(
      ...(nearest?.[given] ?? []).map(({ label, pixels }) => {
        const image = bitmap(28);
        paintSeen(image, pixels);
        const name = make("span", { textContent: label, title: "its label" });
        return make("li", {}, [image, name]);
      }),
    );
    complain(find(".problem"), model.get("problem"));
  }

  // --- the drawing --------------------------------------------------------------

  // One drawing at a time is on its way; the last one is sent once it is answered.
  let waiting = false;
  let late = false;

  function send() {
    const image = context.getImageData(0, 0, SIDE, SIDE).data;
    const ink = new Uint8Array(SIDE * SIDE);
    for (let i = 0; i < ink.length; i++) ink[i] = image[4 * i + 3];
    find(".invitation").hidden = ink.some((value) => value > 0);
    if (waiting) {
      late = true;
      return;
    }
    waiting = true;
    el.classList.add("waiting");
    model.set("ink", new DataView(ink.buffer));
    model.set("asked", model.get("asked") + 1);
    model.save_changes();
  }

  function answered() {
    waiting = false;
    el.classList.remove("waiting");
    show();
    if (late) {
      late = false;
      send();
    }
  }

  // After a reload of the page the kernel still has the ink.
  function restore() {
    const ink = model.get("ink");
    if (ink?.byteLength !== SIDE * SIDE) return;
    const image = context.createImageData(SIDE, SIDE);
    const colour = [1, 3, 5].map((at) => parseInt(INK.slice(at, at + 2), 16));
    for (let i = 0; i < SIDE * SIDE; i++) {
      image.data.set([...colour, ink.getUint8(i)], 4 * i);
    }
    context.putImageData(image, 0, 0);
    find(".invitation").hidden = Boolean(model.get("reading").inputs);
  }

  function clear() {
    context.clearRect(0, 0, SIDE, SIDE);
    send();
  }

  function line(from, to) {
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    send();
  }

  function place(event) {
    const box = paper.getBoundingClientRect();
    const scale = SIDE / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  let last = null; // where the pen that is down was last
  paper.addEventListener("pointerdown", (event) => {
    if (last || event.button > 0) return; // a second finger
    paper.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, last);
  });
  paper.addEventListener("pointermove", (event) => {
    if (!last || !paper.hasPointerCapture(event.pointerId)) return;
    // A fast pen is at several places between two frames.
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const to = place(each);
      line(last, to);
      last = to;
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    paper.addEventListener(kind, (event) => {
      if (paper.hasPointerCapture(event.pointerId)) last = null;
    });
  }

  let at = [SIDE / 2, SIDE / 2]; // the pen of the keyboard
  let isDown = false;

  function moveCursor() {
    cursor.style.left = `${(100 * at[0]) / SIDE}%`;
    cursor.style.top = `${(100 * at[1]) / SIDE}%`;
    cursor.classList.toggle("down", isDown);
  }

  paper.addEventListener("focus", () => {
    cursor.hidden = !paper.matches(":focus-visible");
  });
  paper.addEventListener("blur", () => {
    cursor.hidden = true;
  });
  paper.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    if (!way && event.key !== " ") return;
    event.preventDefault();
    cursor.hidden = false;
    const from = at;
    if (way) {
      at = at.map((x, i) => Math.min(Math.max(x + STEP * way[i], 0), SIDE));
    } else {
      isDown = !isDown;
    }
    if (isDown) line(from, at);
    moveCursor();
  });

  find(".clear").addEventListener("click", clear);
  model.on("change:reading", answered);
  moveCursor();
  restore();
  const unfollow = follow(model, ["given", "network", "problem"], show);
  // The model outlives this view of it.
  return () => {
    model.off("change:reading", answered);
    unfollow();
  };
}

export default { render };
