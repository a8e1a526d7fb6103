const HEIGHT = 100;

/** All steps up to now, oldest first, with what each counted. */
export function stepsUpTo(now, points, { stepMs, steps }) {
  const first = Math.floor(now / stepMs) - steps + 1;
  const found = new Map(points.map((point) => [Math.floor(Date.parse(point.start) / stepMs), point]));
  return Array.from({ length: steps }, (_, index) => {
    return { sum: 0, ...found.get(first + index), start: (first + index) * stepMs };
  });
}

/** A bar for each step, as high as its sum, below the line if that is negative. */
export function bars(steps, label, description, tip) {
  const sums = steps.map(({ sum }) => sum);
  const highest = Math.max(0, ...sums);
  const scale = HEIGHT / (highest - Math.min(0, ...sums) || 1);
  const line = sums.some(Boolean) ? highest * scale : HEIGHT;
  const viewBox = `0 0 ${steps.length} ${HEIGHT}`;
  const chart = make("svg", { viewBox, preserveAspectRatio: "none", role: "img", "aria-label": label });
  chart.append(make("desc", {}, description));
  steps.forEach((step, x) => {
    const height = Math.max(1.5, Math.abs(step.sum) * scale);
    const y = step.sum < 0 ? line : line - height;
    const bar = make("rect", { x: x + 0.14, y, width: 0.72, height, class: step.sum ? "" : "none" });
    bar.append(make("title", {}, tip(step)));
    chart.append(bar);
  });
  return chart;
}

function make(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}
