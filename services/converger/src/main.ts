// The converger process.
import { loadConfig, maskSecrets } from "@muster/shared/config";
import { runService } from "@muster/shared/lifecycle";
import { createLog } from "@muster/shared/log";
import { convergerConfig } from "./config.js";
import { runConverger } from "./service.js";

runService(createLog("converger"), async ({ signal }) => {
  const config = loadConfig(convergerConfig);
  const log = createLog(config.name, config.log_level);
  log.info({ config: maskSecrets(config) }, "converger starting");
  await runConverger(config, { signal, log });
});
