// `node test/dist/contract/conformance/make-golden.js test/contract/conformance/golden`: writes the bytes of every golden message anew, as
// `protoc --encode` (of PATH) makes them of its text form. Only for those who change a text: no test needs protoc, and none of our own
// code takes part in making the bytes.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseGolden } from "../../support/diego-golden.js";

const [folder = "."] = process.argv.slice(2);
const hexPerLine = 120;

for (const name of readdirSync(folder).filter((one) => one.endsWith(".txt"))) {
  const file = readFileSync(join(folder, name), "utf8");
  const head = file.slice(0, file.search(/^### /m));
  const sections = parseGolden(file).map(({ type, name: of, text }) => {
    const args = [`--encode=models.${type}`, "--deterministic_output", `--proto_path=${folder}`, join(folder, "diego.proto")];
    const hex = execFileSync("protoc", args, { input: text }).toString("hex");
    return `### ${type} ${of}\n${text}=\n${(hex.match(new RegExp(`.{1,${hexPerLine}}`, "g")) ?? []).map((line) => `${line}\n`).join("")}`;
  });
  writeFileSync(join(folder, name), head + sections.join(""));
}
