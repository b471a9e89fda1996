// Every row of bbs-semantics.md 2.2, and the requests about DesiredLRPs of 2.1.
import { type DeepPartial, DesiredLRP, DesiredLRPUpdate } from "@muster/proto/models/desired_lrp";
import { isBbsError } from "@muster/shared/errors";
import { describe, expect, it } from "vitest";
import {
  validateDesiredLRPByProcessGuid,
  validateDesireLRP,
  validateRemoveDesiredLRP,
  validateUpdateDesiredLRP,
} from "./index.js";
import { fields, refusal } from "./testing.js";

const run = { runAction: { path: "/bin/true", user: "vcap" } };
const good: DeepPartial<DesiredLRP> = {
  processGuid: "app_1-Version-2",
  domain: "some domain, any characters",
  rootFs: "docker:///library/busybox#latest",
  action: run,
  metricTags: { source_id: { static: "app" } },
};

const desire = (fault: DeepPartial<DesiredLRP>): readonly string[] =>
  refusal(() => validateDesireLRP({ desiredLrp: DesiredLRP.fromPartial({ ...good, ...fault }) }));

interface Row {
  readonly of: string;
  readonly lrp: DeepPartial<DesiredLRP>;
  readonly says: readonly string[];
}

describe("a DesiredLRP is refused for", () => {
  const rows: Row[] = [
    ...["", "a.b", "a/b", "a b", "a,b", "ä", "a\n"].map((processGuid) => ({
      of: `the guid ${JSON.stringify(processGuid)}`,
      lrp: { processGuid },
      says: fields("process_guid"),
    })),
    { of: "an empty domain, once", lrp: { domain: "" }, says: fields("domain") },
    ...[
      "",
      "busybox",
      "/var/rootfs",
      ":x",
      "1docker:x",
      "docker:///a b\n",
      "docker:///%zz",
      "docker://host:port/x",
      "docker://ho st/x",
    ].map((rootFs) => ({ of: `the rootfs ${JSON.stringify(rootFs)}`, lrp: { rootFs }, says: fields("rootfs") })),
    { of: "negative instances", lrp: { instances: -1 }, says: fields("instances") },
    { of: "more instances than a cluster holds", lrp: { instances: 250_001 }, says: fields("instances: more than 250000") },
    { of: "negative memory", lrp: { memoryMb: -1 }, says: fields("memory_mb") },
    { of: "negative disk", lrp: { diskMb: -1 }, says: fields("disk_mb") },
    { of: "negative pids", lrp: { maxPids: -1 }, says: fields("max_pids") },
    { of: "an annotation of 10,241 bytes", lrp: { annotation: "x".repeat(10_241) }, says: fields("annotation") },
    {
      of: "an annotation of 10,242 bytes in fewer characters",
      lrp: { annotation: "é".repeat(5_121) },
      says: fields("annotation"),
    },
    {
      of: "routes of more than 131,072 bytes together",
      lrp: { routes: { routes: { a: Buffer.from(`"${"x".repeat(131_069)}"`), b: Buffer.from("10") } } },
      says: fields("routes"),
    },
    { of: "no metric tags", lrp: { metricTags: {} }, says: fields("metric_tags") },
    { of: "a metric tag without a value", lrp: { metricTags: { a: {} } }, says: fields("metric_tags", "static", "dynamic") },
    {
      of: "a metric tag with two values",
      lrp: { metricTags: { a: { static: "x", dynamic: 1 } } },
      says: fields("metric_tags", "static", "dynamic"),
    },
    {
      of: "a metric tag with an unknown dynamic value",
      lrp: { metricTags: { a: { dynamic: 3 as never } } },
      says: fields("metric_tags", "static", "dynamic"),
    },
    {
      of: "a source_id that is not the metrics_guid",
      lrp: { metricsGuid: "other" },
      says: fields("metric_tags", "source_id should match metrics_guid"),
    },
    {
      of: "a dynamic source_id beside a metrics_guid",
      lrp: { metricsGuid: "app", metricTags: { source_id: { dynamic: 1 } } },
      says: fields("metric_tags", "source_id should match metrics_guid"),
    },
    {
      of: "a log rate limit below -1",
      lrp: { logRateLimit: { bytesPerSecond: -2n } },
      says: fields("log_rate_limit_bytes_per_second", "log_rate_limit"),
    },
    { of: "no action", lrp: { action: undefined }, says: ["invalid action type"] },
    { of: "an action with no member", lrp: { action: {} }, says: fields("action", "inner-action") },
    { of: "a bad action", lrp: { action: { runAction: {} } }, says: fields("action", "path", "user") },
    { of: "a bad setup", lrp: { setup: { runAction: { path: "x" } } }, says: fields("setup", "user") },
    { of: "a bad monitor", lrp: { monitor: { runAction: { user: "x" } } }, says: fields("monitor", "path") },
    {
      of: "an image inspection",
      lrp: { action: { inspectImageAction: { imageUrl: "docker:///x" } } },
      says: fields("action", "inner-action"),
    },
    { of: "a nameless variable", lrp: { environmentVariables: [{ value: "x" }] }, says: ["invalid field: name cannot be blank"] },
    {
      of: "a bad egress rule",
      lrp: { egressRules: [{ protocol: "all", destinations: [] }] },
      says: fields("egress_rules", "destinations [ Must have at least 1 destination ]"),
    },
    { of: "a bad dependency", lrp: { cachedDependencies: [{}] }, says: fields("cached_dependency", "from", "to") },
    {
      of: "a dependency's checksum without algorithm",
      lrp: { cachedDependencies: [{ from: "x", to: "y", checksumValue: "z" }] },
      says: fields("cached_dependency", "checksum algorithm"),
    },
    {
      of: "an empty image layer",
      lrp: { imageLayers: [{}] },
      says: fields("image_layer", "url", "destination_path", "layer_type", "media_type"),
    },
    {
      of: "an exclusive layer without digest or user",
      lrp: { imageLayers: [{ url: "u", destinationPath: "d", layerType: 2, mediaType: 1 }] },
      says: fields("image_layer", "digest_algorithm", "digest_value", "legacy_download_user"),
    },
    {
      of: "a digest without algorithm",
      lrp: { imageLayers: [{ url: "u", destinationPath: "d", layerType: 1, mediaType: 2, digestValue: "x" }] },
      says: fields("image_layer", "digest_algorithm"),
    },
    {
      of: "an algorithm without digest",
      lrp: { imageLayers: [{ url: "u", destinationPath: "d", layerType: 1, mediaType: 3, digestAlgorithm: 2 }] },
      says: fields("image_layer", "digest_value"),
    },
    {
      of: "an unknown digest algorithm",
      lrp: {
        imageLayers: [
          { url: "u", destinationPath: "d", layerType: 1, mediaType: 3, digestAlgorithm: 9 as never, digestValue: "x" },
        ],
      },
      says: fields("image_layer", "digest_algorithm"),
    },
    { of: "a sidecar without action", lrp: { sidecars: [{}] }, says: ["Invalid field: sidecars", "invalid action type"] },
    {
      of: "a sidecar with negative sizes",
      lrp: { sidecars: [{ action: run, memoryMb: -1, diskMb: -1 }] },
      says: fields("sidecars", "memory_mb", "disk_mb"),
    },
    {
      of: "an empty volume mount",
      lrp: { volumeMounts: [{}] },
      says: ["invalid volume_mount driver", "invalid volume_mount mode"],
    },
    { of: "a volume mode like RW", lrp: { volumeMounts: [{ driver: "d", mode: "RW" }] }, says: ["invalid volume_mount mode"] },
    {
      of: "volumes without ids",
      lrp: { volumeMounts: [{ driver: "d", mode: "r", shared: {}, dedicated: {} }] },
      says: ["invalid volume_mount volume id", "invalid volume_mount mounter id"],
    },
    { of: "an image user without password", lrp: { imageUsername: "me" }, says: fields("image_password") },
    { of: "an image password without user", lrp: { imagePassword: "x" }, says: fields("image_username") },
    {
      of: "a check of both kinds",
      lrp: { checkDefinition: { checks: [{ tcpCheck: { port: 1 }, httpCheck: { port: 1 } }] } },
      says: fields("check_definition", "check"),
    },
    { of: "a check of no kind", lrp: { checkDefinition: { checks: [{}] } }, says: fields("check_definition", "port") },
    {
      of: "a readiness check on port 65,536",
      lrp: { checkDefinition: { readinessChecks: [{ httpCheck: { port: 65_536 } }] } },
      says: fields("check_definition", "port"),
    },
    {
      of: "mounted files of more than 1 MiB together",
      lrp: { volumeMountedFiles: [{ content: "x".repeat(1_048_576) }, { content: "y" }] },
      says: fields("volumeMountedFiles"),
    },
    {
      of: "privileged containers",
      lrp: { privileged: true },
      says: ["Invalid field: privileged: containers are never privileged here", "leave it false"],
    },
    ...(["processGuid", "domain", "logGuid"] as const).map((field) => ({
      of: `${field} of 256 characters`,
      lrp: { [field]: "x".repeat(256) },
      says: fields(
        `${{ processGuid: "process_guid", domain: "domain", logGuid: "log_guid" }[field]}: longer than 255 characters`,
      ),
    })),
    {
      of: "a rootfs of 1,025 characters",
      lrp: { rootFs: `docker:///${"x".repeat(1_015)}` },
      says: fields("rootfs: longer than 1024 characters"),
    },
  ];

  it.each(rows)("$of", ({ lrp, says }) => {
    expect(desire(lrp)).toEqual(says);
  });
});

describe("a DesiredLRP is accepted with", () => {
  it.each([
    { of: "the least that is required", lrp: {} },
    { of: "zero instances, memory, disk and pids", lrp: { instances: 0, memoryMb: 0, diskMb: 0, maxPids: 0 } },
    { of: "an annotation of 10,240 bytes", lrp: { annotation: "x".repeat(10_240) } },
    { of: "names of 255 characters of four bytes", lrp: { domain: "🚢".repeat(255), logGuid: "🚢".repeat(255) } },
    { of: "routes of 131,072 bytes", lrp: { routes: { routes: { a: Buffer.from(`"${"x".repeat(131_070)}"`) } } } },
    { of: "an unlimited log rate", lrp: { logRateLimit: { bytesPerSecond: -1n } } },
    { of: "a source_id equal to the metrics_guid", lrp: { metricsGuid: "app" } },
    { of: "dynamic metric tags", lrp: { metricTags: { index: { dynamic: 1 as const }, guid: { dynamic: 2 as const } } } },
    {
      of: "an algorithm in capitals",
      lrp: { cachedDependencies: [{ from: "x", to: "y", checksumAlgorithm: "SHA256", checksumValue: "z" }] },
    },
    { of: "port 65,535", lrp: { checkDefinition: { checks: [{ tcpCheck: { port: 65_535 } }] } } },
    { of: "duplicate ports and any weight", lrp: { ports: [8080, 8080], cpuWeight: 4_000_000 } },
  ])("$of", ({ lrp }) => {
    expect(desire(lrp)).toEqual([]);
  });

  it.each([
    "preloaded:cflinuxfs4",
    "preloaded+layer:cflinuxfs4?layer=http://x/y.tgz&layer_path=/&layer_digest=z",
    "docker:///library/busybox#latest",
    "docker://registry.example.com:5000/team/app#v1",
    "docker://[::1]:5000/app",
    "docker://user:word@127.0.0.1:5000/app",
    "extra:anything at all%zz",
    "DOCKER:///x",
  ])("the rootfs %s", (rootFs) => {
    expect(desire({ rootFs })).toEqual([]);
  });
});

describe("a desire request", () => {
  it("is refused without its LRP", () => {
    expect(refusal(() => validateDesireLRP({ desiredLrp: undefined }))).toEqual(fields("desired_lrp"));
  });

  it("lists every fault, each once", () => {
    expect(desire({ processGuid: "", domain: "", rootFs: "", action: undefined, metricTags: {}, instances: -5 })).toEqual([
      ...fields("domain", "process_guid", "rootfs", "instances", "metric_tags"),
      "invalid action type",
    ]);
  });

  it("is refused with the plain text for a route that is not JSON, which the facts name", () => {
    const desiredLrp = DesiredLRP.fromPartial({ ...good, routes: { routes: { "cf-router": Buffer.from("{") } } });
    const error = caught(() => validateDesireLRP({ desiredLrp }));
    expect(isBbsError(error, "InvalidRequest") && [error.message, error.facts.route]).toEqual([
      "the request received is invalid",
      "cf-router",
    ]);
  });
});

describe("an update request", () => {
  const update = (fault: DeepPartial<DesiredLRPUpdate>): readonly string[] =>
    refusal(() => validateUpdateDesiredLRP({ processGuid: "any guid", update: DesiredLRPUpdate.fromPartial(fault) }));

  it.each([
    {
      of: "negative instances",
      fault: { optionalInstances: { $case: "instances" as const, value: -1 } },
      says: fields("instances"),
    },
    {
      of: "a long annotation",
      fault: { optionalAnnotation: { $case: "annotation" as const, value: "x".repeat(10_241) } },
      says: fields("annotation"),
    },
    { of: "large routes", fault: { routes: { routes: { a: Buffer.alloc(131_073) } } }, says: fields("routes") },
    { of: "a bad metric tag", fault: { metricTags: { a: {} } }, says: fields("metric_tags", "static", "dynamic") },
    {
      of: "a user alone",
      fault: { optionalImageUsername: { $case: "imageUsername" as const, value: "" } },
      says: fields("image_password"),
    },
    {
      of: "a password alone",
      fault: { optionalImagePassword: { $case: "imagePassword" as const, value: "" } },
      says: fields("image_username"),
    },
    {
      of: "a route that is not JSON",
      fault: { routes: { routes: { a: Buffer.alloc(0) } } },
      says: ["the request received is invalid"],
    },
  ])("is refused for $of", ({ fault, says }) => {
    expect(update(fault)).toEqual(says);
  });

  it.each([
    { of: "nothing", fault: {} },
    { of: "empty routes, which clear", fault: { routes: { routes: {} } } },
    {
      of: "empty credentials together",
      fault: {
        optionalImageUsername: { $case: "imageUsername" as const, value: "" },
        optionalImagePassword: { $case: "imagePassword" as const, value: "" },
      },
    },
  ])("is accepted with $of", ({ fault }) => {
    expect(update(fault)).toEqual([]);
  });

  it("is refused without its update, and without a guid", () => {
    expect(refusal(() => validateUpdateDesiredLRP({ processGuid: "", update: undefined }))).toEqual(
      fields("process_guid", "update"),
    );
  });
});

describe("requests that name a process", () => {
  it.each([
    { call: "get", check: validateDesiredLRPByProcessGuid },
    { call: "remove", check: validateRemoveDesiredLRP },
  ])("$call needs a guid, of any form", ({ check }) => {
    expect(refusal(() => check({ processGuid: "" }))).toEqual(fields("process_guid"));
    expect(refusal(() => check({ processGuid: "no/such form" }))).toEqual([]);
  });
});

function caught(run: () => void): unknown {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}
