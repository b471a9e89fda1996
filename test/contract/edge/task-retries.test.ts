// How often a waiting task may be refused: what a BBS says of its setting, and what it does.
import { TaskDefinition } from "@muster/proto/models/task";
import { HistoryServiceClient } from "@muster/proto/muster/v1/history";
import { dial, unary } from "@muster/shared/rpc";
import { expect, it } from "vitest";
import { clientsOf, lmdbHome, spawnBbs, tlsOf } from "../../support/bbs.js";

it("a BBS tells how many rejections it forgives, and fails a task with the next", async () => {
  await using home = await lmdbHome();
  await using bbs = await spawnBbs(home, { settings: { max_task_retries: 1 } });
  await bbs.until("active");
  using controller = await clientsOf([bbs.address], "controller");
  using auctioneer = await clientsOf([bbs.address], "auctioneer");
  const history = dial(HistoryServiceClient, [bbs.address], await tlsOf("operator"));
  try {
    const { maxTaskRetries } = await unary(history.history.bind(history), { guidPrefix: "", limit: 1 });
    expect(maxTaskRetries).toBe(1);
  } finally {
    history.close();
  }
  const taskDefinition = TaskDefinition.fromPartial({
    rootFs: "preloaded:busybox",
    action: { runAction: { path: "/bin/true", user: "vcap" } },
  });
  await unary(controller.bbs.desireTask.bind(controller.bbs), { taskGuid: "refused", domain: "tasks", taskDefinition });
  const refused = async () => (await unary(controller.bbs.taskByGuid.bind(controller.bbs), { taskGuid: "refused" })).task;
  const reject = () => unary(auctioneer.bbs.rejectTask.bind(auctioneer.bbs), { taskGuid: "refused", rejectionReason: "no room" });
  await reject();
  expect(await refused()).toMatchObject({ state: 1, rejectionCount: 1 });
  await reject();
  expect(await refused()).toMatchObject({ state: 3, failed: true, failureReason: "no room" });
});
