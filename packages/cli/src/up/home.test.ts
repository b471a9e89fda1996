// Home folders: made, recognised, refused, emptied; and their certificates.
import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { systemClock } from "@muster/shared/clock";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { prepareCertificates } from "./certificates.js";
import { emptyHome, openHome, sealingKeys } from "./home.js";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "muster-home-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe("a home", () => {
  it("is made in an empty folder, for its owner alone, and known the next time", () => {
    expect(openHome(dir).created).toBe(true);
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(openHome(dir).created).toBe(false);
  });

  it("is made where a first start was cut short", () => {
    mkdirSync(path.join(dir, "certs"));
    expect(openHome(dir).created).toBe(true);
  });

  it("is not made among somebody's files", () => {
    writeFileSync(path.join(dir, "thesis.tex"), "");
    expect(() => openHome(dir)).toThrow("not empty");
    expect(readdirSync(dir)).toEqual(["thesis.tex"]);
  });

  it.each(['{"muster_home":2}', "{}", "not json"])("of another version is refused: %s", (text) => {
    writeFileSync(path.join(dir, "muster-home.json"), text);
    expect(() => openHome(dir)).toThrow("version");
    expect(readdirSync(dir)).toEqual(["muster-home.json"]);
  });

  it("is emptied of what is Muster's and of nothing else", () => {
    openHome(dir);
    writeFileSync(path.join(dir, "notes.txt"), "mine");
    emptyHome(dir);
    expect(readdirSync(dir)).toEqual(["notes.txt"]);
  });

  it("keeps its sealing keys, readable by its owner alone", () => {
    const home = openHome(dir);
    expect(sealingKeys(home)).toEqual(sealingKeys(home));
    expect(statSync(path.join(dir, "keys.json")).mode & 0o777).toBe(0o600);
  });
});

describe("certificates", () => {
  const roles = ["operator", "cell:cell-1"];
  const read = (file: string) => new X509Certificate(readFileSync(path.join(dir, file)));
  const day = 86_400_000;

  it("name their role, are signed by the home's authority and kept while they last", async () => {
    const now = systemClock.nowMs();
    const { filesOf } = await prepareCertificates(dir, roles, now);
    expect(read("cell-cell-1.crt").subject).toBe("CN=cell:cell-1");
    expect(read("operator.crt").verify(read("ca.crt").publicKey)).toBe(true);
    expect(existsSync(filesOf("operator").key_file)).toBe(true);
    const before = read("operator.crt").serialNumber;
    await prepareCertificates(dir, roles, now + 100 * day);
    expect(read("operator.crt").serialNumber).toBe(before);
    await prepareCertificates(dir, roles, now + 320 * day);
    expect(read("operator.crt").serialNumber).not.toBe(before);
  });

  it("are made anew with the authority", async () => {
    const now = systemClock.nowMs();
    await prepareCertificates(dir, roles, now);
    rmSync(path.join(dir, "ca.key"));
    await prepareCertificates(dir, roles, now);
    expect(read("operator.crt").verify(read("ca.crt").publicKey)).toBe(true);
  });
});
