/** Bundle web/embed/ and web/client/ into the file that the first argument names. The packages are in .local/embed. */
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";

const HEADER = "/* counter embed 1.0.0 */\n";
/** Properties of objects that no other code sees, and that are never stored or sent. */
const PRIVATE =
  /^(absentFrom|adopt|buildUrl|countWaiting|counted|erase|follow|forget|getClicks|getPending|hasUnsaved|isPersistent|onChange|onRecorded|onRefused|problem|recorded|refresh|reject|resolve|retryAfterMs|retryNow|save|shared|show|state|stop|wake)$/;

const project = new URL("../..", import.meta.url);
const require = createRequire(new URL(".local/embed/", project));
const { build, transform } = require("esbuild");
const swc = require("@swc/core");
const terser = require("terser");

/** Import a style sheet as its minified text. */
const styles = {
  name: "styles",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

const { outputFiles } = await build({
  entryPoints: [new URL("web/embed/embed.js", project).pathname],
  plugins: [styles],
  bundle: true,
  minifySyntax: true,
  write: false,
  format: "esm",
  charset: "utf8",
  logLevel: "warning",
});
// Terser and swc inline different functions. Together, they make the output 3 % smaller than terser alone.
const compress = {
  passes: 3,
  unsafe_arrows: true,
  unsafe: true,
  pure_getters: true,
  keep_fargs: false,
  hoist_funs: true,
};
const options = { module: true, ecma: 2020, compress, mangle: false };
const compressed = await terser.minify(outputFiles[0].text, options);
const inlined = await swc.minify(compressed.code, { module: true, compress: true, mangle: false });
const mangle = { properties: { regex: PRIVATE, builtins: true } };
const { code } = await terser.minify(inlined.code, { ...options, mangle });
await writeFile(process.argv[2], `${HEADER}${code}\n`);
