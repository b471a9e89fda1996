// What goes where: documents to stdout, notes to stderr, colours to terminals only.
import { describe, expect, it } from "vitest";
import { alignColumns, Output } from "./output.js";

function capture(options: { readonly json?: boolean; readonly tty?: boolean; readonly color?: boolean }) {
  const written = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    isTTY: options.tty ?? false,
    write: (text: string) => {
      written[name] += text;
    },
  });
  const out = new Output({
    json: options.json ?? false,
    color: options.color ?? true,
    stdout: stream("stdout"),
    stderr: stream("stderr"),
  });
  return { out, written };
}

describe("output", () => {
  it("with --json is one document and nothing else on stdout", () => {
    const { out, written } = capture({ json: true, tty: true });
    out.line("for people");
    out.table(["A"], [["1"]]);
    out.progress("working");
    out.show({ a: 1 }, () => out.line("for people"));
    out.note("a warning");
    expect(JSON.parse(written.stdout)).toEqual({ a: 1 });
    expect(written.stderr).toBe("a warning\n");
  });

  it("shows progress and colours on a terminal only", () => {
    const pipe = capture({});
    pipe.out.progress("working");
    pipe.out.table(["A"], [["1"]]);
    expect(pipe.written).toEqual({ stdout: "A\n1\n", stderr: "" });
    const terminal = capture({ tty: true });
    terminal.out.progress("working");
    expect(terminal.written.stderr).toContain("working");
    expect(terminal.out.paint("red", "x")).toBe("\u001b[31mx\u001b[0m");
    expect(capture({ tty: true, color: false }).out.paint("red", "x")).toBe("x");
  });

  it("aligns columns without trailing spaces", () => {
    expect(
      alignColumns([
        ["NAME", "N"],
        ["a", "10"],
        ["longer", ""],
      ]),
    ).toEqual(["NAME     N", "a        10", "longer"]);
  });
});
