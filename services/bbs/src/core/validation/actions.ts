// Actions, checked to the bottom (bbs-semantics.md 2.4).
import type { Action, DownloadAction, UploadAction } from "@muster/proto/models/actions";
import type { Faults } from "./faults.js";

interface Checksum {
  readonly checksumAlgorithm: string;
  readonly checksumValue: string;
}

const checksumAlgorithms: ReadonlySet<string> = new Set(["md5", "sha1", "sha256"]);

/** Both or neither; downloads and cached dependencies alike. */
export function checkChecksum(faults: Faults, { checksumAlgorithm, checksumValue }: Checksum): void {
  if (checksumValue !== "" && checksumAlgorithm === "") faults.field("checksum algorithm");
  if (checksumValue === "" && checksumAlgorithm !== "") faults.field("checksum value");
  if (checksumValue !== "" && checksumAlgorithm !== "" && !checksumAlgorithms.has(checksumAlgorithm.toLowerCase())) {
    faults.field("invalid algorithm");
  }
}

/** A required action: `field` is named before what is wrong within it. */
export function checkAction(faults: Faults, field: string, action: Action | undefined): void {
  if (action === undefined) faults.text("invalid action type");
  else checkOptionalAction(faults, field, action);
}

export function checkOptionalAction(faults: Faults, field: string, action: Action | undefined): void {
  if (action !== undefined) faults.within(field, (inner) => checkMember(inner, action));
}

/** The first member that is set, in Diego's order, is the action; the others do not count. */
function checkMember(faults: Faults, action: Action): void {
  if (action.downloadAction !== undefined) checkDownload(faults, action.downloadAction);
  else if (action.uploadAction !== undefined) checkUpload(faults, action.uploadAction);
  else if (action.runAction !== undefined) checkFilled(faults, { path: action.runAction.path, user: action.runAction.user });
  else if (action.timeoutAction !== undefined) {
    checkInner(faults, action.timeoutAction.action);
    if (action.timeoutAction.timeoutMs <= 0n) faults.field("timeout_ms");
  } else if (action.emitProgressAction !== undefined) checkInner(faults, action.emitProgressAction.action);
  else if (action.tryAction !== undefined) checkInner(faults, action.tryAction.action);
  else checkGroup(faults, action);
}

function checkGroup(faults: Faults, action: Action): void {
  const group = action.parallelAction ?? action.serialAction ?? action.codependentAction;
  // `inspect_image` stands alone: it needs no container, so it has no place within others (see task.ts).
  if (group === undefined) faults.field("inner-action");
  else if (group.actions.length === 0) faults.field("actions");
  else for (const member of group.actions) checkMember(faults, member);
}

function checkInner(faults: Faults, action: Action | undefined): void {
  if (action === undefined) faults.field("action");
  else checkMember(faults, action);
}

function checkDownload(faults: Faults, action: DownloadAction): void {
  checkFilled(faults, { from: action.from, to: action.to, user: action.user });
  checkChecksum(faults, action);
}

const checkUpload = (faults: Faults, action: UploadAction): void =>
  checkFilled(faults, { to: action.to, from: action.from, user: action.user });

/** Names every field that is empty. */
export function checkFilled(faults: Faults, fields: Readonly<Record<string, string>>): void {
  for (const [field, value] of Object.entries(fields)) if (value === "") faults.field(field);
}
