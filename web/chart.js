const HEIGHT = 100;

/** Return all steps up to now, oldest first. Steps without a point have the sum 0. */
export function fillSteps(now, points, { stepMs, steps }) {
  const first = Math.floor(now / stepMs) - steps + 1;
  const byStep = new Map(points.map((point) => [Math.floor(Date.parse(point.start) / stepMs), point]));
  return Array.from({ length: steps }, (_, index) => {
    return { sum: 0, ...byStep.get(first + index), start: (first + index) * stepMs };
  });
}

/** Draw a bar for each step. Negative sums are below the line. */
export function drawBars(steps, label, description, formatStep) {
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
    bar.append(make("title", {}, formatStep(step)));
    chart.append(bar);
  });
  return chart;
}

function make(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}
