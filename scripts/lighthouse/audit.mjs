/** Audit the page at the address in the first argument, print Lighthouse's scores, and fail if a goal is missed. */
const packages = new URL("../../.local/lighthouse/node_modules/", import.meta.url);
const { default: lighthouse } = await import(new URL("lighthouse/core/index.js", packages));
const { launch } = await import(new URL("chrome-launcher/dist/index.js", packages));

/** The minimum scores. Performance depends on the machine and its load, so it has no minimum. */
const GOALS = { performance: 0, accessibility: 100, "best-practices": 100, seo: 100 };
const MAX_LAYOUT_SHIFT = 0.05;
const METRICS = ["first-contentful-paint", "largest-contentful-paint", "speed-index", "total-blocking-time"];

const chromium = await launch({
  chromePath: process.env.CHROME_PATH ?? "/usr/bin/chromium",
  chromeFlags: ["--headless=new", "--no-sandbox", "--disable-gpu"],
});
const { lhr } = await lighthouse(process.argv[2], {
  port: chromium.port,
  logLevel: "error",
  throttling: { cpuSlowdownMultiplier: Number(process.env.CPU_SLOWDOWN || 4) },
});
chromium.kill();

const { categories, audits, runtimeError } = lhr;
if (runtimeError) throw new Error(runtimeError.message);
const scores = Object.values(categories).map(({ id, score }) => [id, Math.round(score * 100)]);
for (const [id, score] of scores) console.log(`${id.padEnd(25)}${score}`);
for (const id of METRICS) console.log(`${id.padEnd(25)}${audits[id].displayValue}`);
const shift = audits["cumulative-layout-shift"].numericValue;
console.log(`${"cumulative-layout-shift".padEnd(25)}${shift.toFixed(3)}`);
console.log(`${"benchmark-index".padEnd(25)}${lhr.environment.benchmarkIndex}`);

const missed = scores.filter(([id, score]) => score < GOALS[id]).map(([id]) => id);
if (shift >= MAX_LAYOUT_SHIFT) missed.push("cumulative-layout-shift");
for (const { auditRefs } of missed.map((id) => categories[id]).filter(Boolean)) {
  for (const { title, score } of auditRefs.map(({ id }) => audits[id])) {
    if (score !== null && score < 1) console.error(`Failed: ${title}`);
  }
}
if (missed.length) console.error(`Goals missed: ${missed.join(", ")}`);
process.exitCode = missed.length ? 1 : 0;
