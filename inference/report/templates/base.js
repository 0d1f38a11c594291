"use strict";

// Maps: without this script all lead times stand below each other, with it one is shown at a time.
for (const slider of document.querySelectorAll(".slider")) {
  const frames = [...slider.querySelectorAll("figure")];
  const range = slider.querySelector("input");
  const show = () => {
    frames.forEach((frame, number) => { frame.hidden = number !== range.valueAsNumber; });
    slider.querySelector("output").textContent = frames[range.valueAsNumber].dataset.lead;
  };
  range.max = frames.length - 1;
  range.addEventListener("input", show);
  slider.querySelector(".control").hidden = false;
  show();
}

// Curves: the values at the lead time (or wavenumber, or epoch) under the pointer.
const box = document.body.appendChild(document.createElement("div"));
box.className = "values";
box.hidden = true;

const nearest = (curves, x, distance) => {
  let best = NaN;
  for (const curve of curves) {
    for (const here of curve.x) {
      if (!(distance(here, x) >= distance(best, x))) best = here;
    }
  }
  return best;
};

const line = (text, colour) => {
  const row = document.createElement("div");
  row.textContent = text;
  if (colour) {
    const mark = document.createElement("span");
    mark.style.background = colour;
    row.prepend(mark);
  }
  return row;
};

for (const image of document.querySelectorAll("img[data-curves]")) {
  const panels = JSON.parse(image.dataset.curves);
  image.addEventListener("pointermove", (event) => {
    const place = image.getBoundingClientRect();
    const across = (event.clientX - place.left) / place.width;
    const down = (event.clientY - place.top) / place.height;
    const panel = panels.find(({ box: [left, top, right, bottom] }) =>
      across >= left && across <= right && down >= top && down <= bottom);
    box.hidden = !panel;
    if (!panel) return;
    const [low, high] = panel.x;
    const share = (across - panel.box[0]) / (panel.box[2] - panel.box[0]);
    const x = panel.logarithmic ? low * (high / low) ** share : low + share * (high - low);
    const distance = panel.logarithmic
      ? (one, two) => Math.abs(Math.log(one / two)) : (one, two) => Math.abs(one - two);
    const here = nearest(panel.curves, x, distance);
    const rows = panel.curves.filter((curve) => curve.x.includes(here))
      .map((curve) => line(`${curve.label}: ${curve.y[curve.x.indexOf(here)]}`, curve.colour));
    box.replaceChildren(line(`${panel.axis}: ${here}`), ...rows);
    box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 4)}px`;
    box.style.top = `${Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 4)}px`;
  });
  image.addEventListener("pointerleave", () => { box.hidden = true; });
}
