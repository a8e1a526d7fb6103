import { make } from "./elements.js";

/** Return all steps up to now, oldest first. Steps without a point have the sum 0. The last step has not ended. */
export function fillSteps(now, points, { stepMs, steps }) {
  const first = Math.floor(now / stepMs) - steps + 1;
  const sums = new Map(points.map(({ start, sum }) => [Math.floor(Date.parse(start) / stepMs), sum]));
  return Array.from({ length: steps }, (_, index) => {
    const start = (first + index) * stepMs;
    return { start, end: index < steps - 1 ? start + stepMs - 1 : undefined, sum: sums.get(first + index) ?? 0 };
  });
}

/** Choose round values for the lines of the scale, from the highest to the lowest. They include 0. */
export function chooseScale(highest, lowest) {
  const least = Math.max(1, (highest - lowest) / 3);
  const magnitude = 10 ** Math.floor(Math.log10(least));
  const interval = [1, 2, 5, 10].find((factor) => factor * magnitude >= least) * magnitude;
  const top = Math.ceil(highest / interval);
  return Array.from({ length: top - Math.floor(lowest / interval) + 1 }, (_, index) => (top - index) * interval);
}

/**
 * Make a chart. Call back with the step that the user reads, or with undefined.
 *
 * A pointer reads the bar below it. Keyboards and screen readers choose a bar with a range input.
 */
export function makeChart({ chart, plot, scale, times, moment }, format, onRead) {
  let steps = [];
  let describe;

  function read(index) {
    plot.querySelector(".read")?.classList.remove("read");
    if (steps[index]) {
      plot.children[index].classList.add("read");
      moment.value = index;
      chart.style.setProperty("--read", (index + 0.5) / steps.length);
    }
    moment.ariaValueText = steps.length ? describe(steps[moment.value]) : null;
    onRead(steps[index]);
  }

  const stopReading = () => read(document.activeElement === moment ? moment.value : -1);

  chart.onpointerdown = chart.onpointermove = ({ clientX }) => {
    const { left, width } = plot.getBoundingClientRect();
    read(Math.min(Math.max(Math.floor(((clientX - left) / width) * steps.length), 0), steps.length - 1));
  };
  // A tapped bar is read until the user taps elsewhere.
  chart.onpointerleave = ({ pointerType }) => pointerType === "touch" || stopReading();
  chart.onpointercancel = stopReading;
  document.addEventListener("pointerdown", ({ target }) => chart.contains(target) || stopReading());
  moment.oninput = moment.onfocus = () => read(moment.value);
  moment.onblur = () => read(-1);

  /** Show the steps, `ticks` below some of them, and a text if there are no bars. Without both, show a skeleton. */
  return function show(model) {
    const { text = "", label = "", summary = "", ticks = [] } = model;
    const reading = [...plot.children].findIndex((bar) => bar.matches(".read"));
    ({ steps = [], describe } = model);
    const sums = steps.map(({ sum }) => sum);
    const peaks = [Math.max(0, ...sums), Math.min(0, ...sums)];
    const lines = steps.length ? chooseScale(...peaks) : [];
    const range = lines[0] - lines.at(-1) || 1;

    function draw(name, index, content) {
      const sum = sums[index];
      const element = make(name, { className: sum < 0 ? "negative" : sum ? "positive" : "none" }, content);
      element.style.setProperty("--at", (index + 0.5) / sums.length);
      element.style.setProperty("--size", Math.abs(sum) / range);
      return element;
    }

    plot.style.setProperty("--below", -lines.at(-1) / range);
    plot.replaceChildren(
      ...sums.map((_, index) => draw("i", index, make("b"))),
      ...peaks.filter(Boolean).map((sum) => draw("em", sums.indexOf(sum), (sum > 0 ? "+" : "") + format(sum))),
      ...(text ? [make("p", {}, text)] : []),
    );
    Object.assign(plot, { role: label && "img", ariaLabel: label && `${label}: ${summary}` });
    chart.classList.toggle("signed", peaks[1] < 0);
    scale.replaceChildren(...lines.map((value) => make("i", { className: value ? "" : "zero" }, format(value))));
    times.replaceChildren(...ticks.map(([index, tick]) => draw("span", index, tick)));
    Object.assign(moment, { disabled: !label, max: steps.length - 1, ariaLabel: label || "Activity" });
    if (reading < 0) moment.value = moment.max;
    read(steps[reading] ? reading : -1);
  };
}
