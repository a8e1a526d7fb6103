const HEIGHT = 100;
const MIN_BAR = 1.5;

/** Return all steps up to now, oldest first. Steps without a point have the sum 0. */
export function fillSteps(now, points, { stepMs, steps }) {
  const first = Math.floor(now / stepMs) - steps + 1;
  const byStep = new Map(points.map((point) => [Math.floor(Date.parse(point.start) / stepMs), point]));
  return Array.from({ length: steps }, (_, index) => {
    return { sum: 0, ...byStep.get(first + index), start: (first + index) * stepMs };
  });
}

/** Draw a bar for each step. Negative sums are below a line, and have a class of their own. */
export function drawBars(steps, label, description, formatStep) {
  const sums = steps.map(({ sum }) => sum);
  const highest = Math.max(0, ...sums);
  const lowest = Math.min(0, ...sums);
  const scale = HEIGHT / (highest - lowest || 1);
  const line = sums.some(Boolean) ? highest * scale : HEIGHT;
  // The smallest bars need space above and below.
  const viewBox = `0 ${-MIN_BAR} ${steps.length} ${HEIGHT + 2 * MIN_BAR}`;
  const chart = make("svg", { viewBox, preserveAspectRatio: "none", role: "img", "aria-label": label });
  chart.append(make("desc", {}, description));
  if (lowest) chart.append(make("line", { x1: 0, x2: steps.length, y1: line, y2: line }));
  steps.forEach((step, x) => {
    const height = Math.max(MIN_BAR, Math.abs(step.sum) * scale);
    const y = step.sum < 0 ? line : line - height;
    const sign = step.sum < 0 ? "negative" : "";
    const bar = make("rect", { x: x + 0.14, y, width: 0.72, height, class: step.sum ? sign : "none" });
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
