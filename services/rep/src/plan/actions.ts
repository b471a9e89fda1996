// Trees of actions: what this cell can carry out, how they are walked, and what of them may be written to disk.
import { Action } from "@muster/proto/models/actions";

type ActionName = keyof Action;
const leaves: ReadonlySet<ActionName> = new Set<ActionName>(["runAction", "downloadAction", "uploadAction"]);
const carriedOut: ReadonlySet<ActionName> = new Set<ActionName>([
  ...leaves,
  "timeoutAction",
  "emitProgressAction",
  "tryAction",
  "parallelAction",
  "serialAction",
  "codependentAction",
]);
const deepest = 100;

export const noAction: Action = Action.decode(new Uint8Array(0));
export const serial = (...actions: Action[]): Action => ({ ...noAction, serialAction: { actions, logSource: "" } });
export const parallel = (...actions: Action[]): Action => ({ ...noAction, parallelAction: { actions, logSource: "" } });
export const codependent = (...actions: Action[]): Action => ({ ...noAction, codependentAction: { actions, logSource: "" } });

const nameOf = (action: Action): ActionName | undefined =>
  (Object.keys(action) as ActionName[]).find((name) => action[name] !== undefined);

/** The actions directly below one. */
export function childrenOf(action: Action): readonly (Action | undefined)[] {
  const single = action.timeoutAction ?? action.emitProgressAction ?? action.tryAction;
  if (single !== undefined) return [single.action];
  return (action.parallelAction ?? action.serialAction ?? action.codependentAction)?.actions ?? [];
}

/** Says why this cell cannot carry an action out, or `undefined` when it can. */
export function unsupportedAction(action: Action | undefined, depth = 0): string | undefined {
  const name = action === undefined ? undefined : nameOf(action);
  if (action === undefined || name === undefined) return "container cannot have empty action";
  if (depth > deepest) return `actions are nested more than ${deepest} deep`;
  const plain = name.replace(/Action$/, "");
  if (!carriedOut.has(name)) return `this cell cannot carry out a ${plain} action`;
  const children = childrenOf(action);
  if (!leaves.has(name) && children.length === 0) return `a ${plain} action needs at least one action in it`;
  for (const child of children) {
    const fault = unsupportedAction(child, depth + 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** How many processes the tree starts. */
export function runCount(action: Action | undefined): number {
  if (action === undefined) return 0;
  if (action.runAction !== undefined) return 1;
  return childrenOf(action).reduce((count, child) => count + runCount(child), 0);
}

/** The same tree with what may hold secrets left out. */
export function skeletonOf(action: Action): Action {
  const copy = Action.decode(Action.encode(action).finish());
  const strip = (node: Action | undefined): void => {
    if (node?.runAction !== undefined) {
      node.runAction.env = [];
      node.runAction.args = [];
      node.runAction.volumeMountedFiles = [];
    }
    // Addresses of blob stores are signed.
    if (node?.downloadAction !== undefined) node.downloadAction.from = "";
    if (node?.uploadAction !== undefined) node.uploadAction.to = "";
    for (const child of node === undefined ? [] : childrenOf(node)) strip(child);
  };
  strip(copy);
  return copy;
}

export const encodeSkeleton = (action: Action): string =>
  Buffer.from(Action.encode(skeletonOf(action)).finish()).toString("base64");
export const decodeSkeleton = (text: string): Action => Action.decode(Buffer.from(text, "base64"));
