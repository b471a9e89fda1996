// Reads the imports of a formatted source file. Biome has given every import one shape, so two patterns find them all.

export interface Import {
  readonly specifier: string;
  /** Gone once compiled: it may name a wall's other side without leaning on it. */
  readonly typeOnly: boolean;
}

// `[^;"'`]` keeps a match within one statement; comments are taken out first, so what is left are statements.
const statement = /^(?:import|export)\s+(type\s)?([^;"'`]*?from\s*)?["']([^"']+)["']/gm;
const dynamic = /\b(?:import|require)\(\s*["'`]([^"'`]+)["'`]/g;
const allTypes = /^\s*\{\s*(?:type\s+[\w$]+(?:\s+as\s+[\w$]+)?\s*,?\s*)+\}\s*from\s*$/;

/** Every import of a file, static and dynamic, re-exports too. A computed specifier is not seen. */
export function importsOf(text: string): readonly Import[] {
  const code = withoutComments(text);
  const found: Import[] = [];
  for (const [, type, clause, specifier] of code.matchAll(statement)) {
    // An `export const x = "y"` has no from clause, an `import "y"` has neither clause nor `=`; the pattern lets only the latter by.
    found.push({ specifier: specifier ?? "", typeOnly: type !== undefined || allTypes.test(clause ?? "") });
  }
  for (const [, specifier] of code.matchAll(dynamic)) found.push({ specifier: specifier ?? "", typeOnly: false });
  return found;
}

/** Takes out block comments and whole-line ones; a comment after code cannot start a statement. */
const withoutComments = (text: string): string => text.replace(/^\s*\/\*[\s\S]*?\*\//gm, "").replace(/^\s*\/\/.*$/gm, "");
