// Walks Diego's action trees: copies one with some of its actions replaced.
import type { Action } from "@muster/proto/models/actions";

/** An action with nothing in it, to be filled by its one member. */
export const noAction: Action = {
  downloadAction: undefined,
  uploadAction: undefined,
  runAction: undefined,
  timeoutAction: undefined,
  emitProgressAction: undefined,
  tryAction: undefined,
  parallelAction: undefined,
  serialAction: undefined,
  codependentAction: undefined,
  inspectImageAction: undefined,
};

/** A copy of the tree in which `change` had its say on every action, the innermost first. */
export function mapActions(action: Action, change: (action: Action) => Action): Action {
  const inner = (wrapped: Action | undefined): Action | undefined =>
    wrapped === undefined ? undefined : mapActions(wrapped, change);
  const all = (actions: readonly Action[]): Action[] => actions.map((each) => mapActions(each, change));
  const { timeoutAction, emitProgressAction, tryAction, parallelAction, serialAction, codependentAction } = action;
  return change({
    ...action,
    timeoutAction: timeoutAction && { ...timeoutAction, action: inner(timeoutAction.action) },
    emitProgressAction: emitProgressAction && { ...emitProgressAction, action: inner(emitProgressAction.action) },
    tryAction: tryAction && { ...tryAction, action: inner(tryAction.action) },
    parallelAction: parallelAction && { ...parallelAction, actions: all(parallelAction.actions) },
    serialAction: serialAction && { ...serialAction, actions: all(serialAction.actions) },
    codependentAction: codependentAction && { ...codependentAction, actions: all(codependentAction.actions) },
  });
}
