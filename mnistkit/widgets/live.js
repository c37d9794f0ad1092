// The browser's side of Curves (live.py): it draws the rows that have arrived.

const PAGE = `
<div class="tools">
  <button type="button" class="stop">Stop</button>
  <p class="verdict" role="status" aria-live="polite"></p>
</div>
<div class="charts"></div>`;

function render({ model, el }) {
  const find = begin(el, "live", PAGE);
  const stop = find(".stop");

  function curves(rows, score, factor) {
    const parts = [
      ["train", "training"],
      ["val", "validation"],
    ];
    return parts
      .filter(([part]) => rows.some((row) => `${part}_${score}` in row))
      .map(([part, name]) => ({
        name,
        points: rows.map((row) => {
          const value = row[`${part}_${score}`];
          return [row.epoch, value === null ? NaN : factor * value];
        }),
      }));
  }

  function show() {
    const [rows, state] = [model.get("rows"), model.get("state")];
    const planned = model.get("epochs");
    const last = rows[rows.length - 1];
    const isOver = state !== "learning";
    stop.hidden = isOver;
    stop.disabled = model.get("is_stopping");
    stop.textContent = stop.disabled ? "Stopping after this epoch…" : "Stop";
    let text = planned ? `Epoch ${rows.length} of ${planned}` : `Epoch ${rows.length}`;
    if (last) {
      const onHeldOut = "val_accuracy" in last;
      const right = onHeldOut ? last.val_accuracy : last.train_accuracy;
      const images = onHeldOut ? "validation images" : "training images";
      text += ` · ${percent(right)} of the ${images} right`;
      if (last.train_loss === null) text += " · diverged: the loss is no number";
    }
    find(".verdict").textContent = isOver ? `${text} · ${model.get("ends")[state]}` : text;

    const loss = curves(rows, "loss", 1);
    const accuracy = curves(rows, "accuracy", 100);
    const all = (series) =>
      series.flatMap(({ points }) => points.map(([, y]) => y)).filter(Number.isFinite);
    const x = [1, Math.max(2, isOver ? 0 : planned, rows.length)];
    const highest = Math.max(0.1, ...all(loss));
    const lowest = Math.min(95, ...all(accuracy));
    const now = find(".verdict").textContent;
    find(".charts").replaceChildren(
      chart({
        title: "Loss",
        xlabel: "epoch",
        label: `Loss by epoch. ${now}`,
        series: loss,
        x,
        y: [0, 1.05 * highest],
      }),
      chart({
        title: "Accuracy (%)",
        xlabel: "epoch",
        label: `Accuracy by epoch. ${now}`,
        series: accuracy,
        x,
        y: [Math.max(0, lowest - 0.1 * (100 - lowest)), 100],
      }),
    );
  }

  stop.addEventListener("click", () => choose(model, "is_stopping", true));
  return follow(model, ["rows", "state", "is_stopping"], show);
}

export default { render };
