// Every verb with its flags and an example: what `--help` shows is what exists.
import { Command } from "commander";
import type { CommonFlags, Context } from "./context.js";
import { gather } from "./flags.js";
import { app, apps, remove, restart, restartInstance, scale, start, stop } from "./verbs/apps.js";
import { backup } from "./verbs/backup.js";
import { cell, cells, forget } from "./verbs/cells.js";
import { converge } from "./verbs/converge.js";
import { evacuate } from "./verbs/evacuate.js";
import { events } from "./verbs/events.js";
import { explainVerb, plan } from "./verbs/explain.js";
import { domains, featureFlag, featureFlags, locks, setFeatureFlag } from "./verbs/flags.js";
import { logs } from "./verbs/logs.js";
import { lrps } from "./verbs/lrps.js";
import { simulate } from "./verbs/simulate.js";
import { status } from "./verbs/status.js";
import { allTasks, runTask, tasks, terminateTask } from "./verbs/tasks.js";
import { watch } from "./verbs/watch.js";

/** What few verbs need is loaded by these alone: the others answer sooner. */
const loadUp = () => import("./up/up.js");
const loadPush = () => import("./verbs/push.js");
const loadRestore = () => import("./verbs/restore.js");

/** Makes the context of a verb from the flags that all verbs share. */
export type MakeContext = (flags: CommonFlags) => Context;

const exitCodesHelp = `
Exit codes: 0 done, 1 unexpected (or a task that was waited for failed), 2 wrong usage, 3 refused, 4 unreachable, 5 waited in vain.`;

const pushFlags = (verb: Command): Command =>
  verb
    .option("-o, --docker-image <ref>", "the image, as in docker pull")
    .option("-i, --instances <n>", "how many (1)")
    .option("-m, --memory <size>", "memory of each instance (256M)")
    .option("-k, --disk <size>", "disk of each instance (1G)")
    .option("-c, --command <cmd>", "start command, run by the image's /bin/sh; `null` for the image's own")
    .option("--env <name=value>", "an environment variable; repeatable", gather)
    .option("--health-check-type <type>", "port, process or http (port)")
    .option("--health-check-http-endpoint <path>", "for the type http (/)")
    .option("-t, --timeout <seconds>", "how long a start may take (60)")
    .option("-f, --file <manifest>", "a manifest.yml")
    .option("--docker-username <name>", "of a private registry; the password is in CF_DOCKER_PASSWORD")
    .option("--no-start", "make the app, do not run it")
    .option("--no-wait", "do not wait until it runs");

const upFlags = (verb: Command): Command =>
  verb
    .option("--cells <n>", "how many cells (2)")
    .option("--zones <n>", "spread over how many zones (1)")
    .option("--store <driver>", "lmdb (embedded) or etcd")
    .option("--etcd <urls>", "http://HOST:PORT,… of an etcd cluster")
    .option("--etcd-ca <file>", "authority of etcd's certificates")
    .option("--etcd-cert <file>", "certificate for etcd")
    .option("--etcd-key <file>", "its key")
    .option("--etcd-user <name>", "user of an etcd with authentication")
    .option("--etcd-password-file <file>", "its password: the file's first line")
    .option("--etcd-quota <size>", "what etcd's --quota-backend-bytes allows (2G)")
    .option("--bbs <n>", "how many BBSs; standbys need etcd (1)")
    .option("--auctioneers <n>", "how many auctioneers (1)")
    .option("--convergers <n>", "how many convergers (1)")
    .option("--runtime <kind>", "runc, or simulated: containers in memory only (runc)")
    .option("--cell-memory <size>", "memory of each cell (the machine's, divided)")
    .option("--cell-disk <size>", "disk of each cell (the machine's, divided)")
    .option("--cell-containers <n>", "containers of each cell (249)")
    .option("--insecure-registry <host:port>", "allow plain HTTP or an unverified certificate; repeatable", gather)
    .option("--registry-ca <file>", "trust a private registry's authority; repeatable", gather)
    .option("--presence-ttl <duration>", "how long a silent cell counts as there (5s)")
    .option("--converge-interval <duration>", "between two full convergence cycles (30s)")
    .option("--port-offset <n>", "move every port by n; keep platforms 500 times their cells apart (0)")
    .option("--demo", "run the demo app")
    .option("--no-demo", "do not run it")
    .option("--fresh", "start from an empty home: apps and data are deleted");

/** The whole command line. Nothing is read or dialled before a verb runs. */
export function makeProgram(makeContext: MakeContext, version: string): Command {
  const program = new Command("muster")
    .description("A Diego-style scheduler that runs Docker images: a platform on this machine, and its command line.")
    .version(version)
    .option("--home <dir>", "home folder of the platform (MUSTER_HOME, or .muster)")
    .option("--json", "print one JSON document, or one object a line")
    .showHelpAfterError("(see --help)")
    .addHelpText("after", exitCodesHelp);

  const verb = (usage: string, about: string, example: string): Command =>
    program
      .command(usage)
      .description(about)
      .option("--home <dir>", "home folder of the platform (MUSTER_HOME, or .muster)")
      .option("--json", "print one JSON document, or one object a line")
      .addHelpText("after", `\nExample:\n  muster ${example}`);
  const remote = (usage: string, about: string, example: string): Command =>
    verb(usage, about, example)
      .option("--bbs <addresses>", "HOST:PORT,… of the BBS, instead of the home's")
      .option("--ca <file>", "authority of its certificate")
      .option("--cert <file>", "your certificate")
      .option("--key <file>", "its key");
  const contextOf = (command: Command): Context => makeContext(command.optsWithGlobals());

  upFlags(verb("up", "start a whole platform on this machine", "up --cells 3 --zones 2")).action(async (options, command) =>
    (await loadUp()).up(contextOf(command), options),
  );

  pushFlags(
    remote("push [name]", "run an image as an app, or update it without downtime", "push web --docker-image nginx -i 2"),
  ).action(async (name, options, command) => (await loadPush()).push(contextOf(command), name, options));
  remote("apps", "list apps", "apps").action((_, command) => apps(contextOf(command)));
  remote("app <name>", "show an app and its instances", "app web").action((name, _, command) => app(contextOf(command), name));
  remote("scale <name>", "change how many instances run", "scale web -i 5")
    .option("-i, --instances <n>", "how many")
    .action((name, options, command) => scale(contextOf(command), name, options));
  remote("stop <name>", "stop an app; it keeps its instance count", "stop web").action((name, _, command) =>
    stop(contextOf(command), name),
  );
  remote("start <name>", "start a stopped app", "start web").action((name, _, command) => start(contextOf(command), name));
  remote("restart <name>", "stop an app and start it in fresh containers", "restart web").action((name, _, command) =>
    restart(contextOf(command), name),
  );
  remote("restage <name>", "look the image's tag up again and update to it without downtime", "restage web").action(
    async (name, _, command) => (await loadPush()).restage(contextOf(command), name),
  );
  remote("delete <name>", "delete an app", "delete web -f")
    .option("-f, --force", "do not ask")
    .action((name, options, command) => remove(contextOf(command), name, options));
  remote("restart-app-instance <name> <index>", "replace one instance", "restart-app-instance web 0").action(
    (name, index, _, command) => restartInstance(contextOf(command), name, index),
  );
  remote(
    "logs <name>",
    "follow an app's output, or a task's until it is over (its guid in the place of a name)",
    "logs web --recent",
  )
    .option("--recent", "print what is kept, then end")
    .option("--instance <index>", "of one instance only")
    .option("--task <id>", "of a task of the app: its guid, the beginning of its own part, or its name")
    .action((name, options, command) => logs(contextOf(command), name, options));
  remote("events <name>", "what happened to an app's instances and tasks, newest first", "events web")
    .option("--limit <n>", "how many, at most 1000 (50)")
    .action((name, options, command) => events(contextOf(command), name, options));
  remote("env <name>", "show an app's environment", "env web").action(async (name, _, command) =>
    (await loadPush()).env(contextOf(command), name),
  );
  remote(
    "set-env <name> <key> <value>",
    "set a variable; takes effect at once, without downtime",
    "set-env web COLOR blue",
  ).action(async (name, key, value, _, command) => (await loadPush()).setEnv(contextOf(command), name, key, value));
  remote("unset-env <name> <key>", "remove a variable; takes effect at once, without downtime", "unset-env web COLOR").action(
    async (name, key, _, command) => (await loadPush()).unsetEnv(contextOf(command), name, key),
  );
  remote("run-task <name>", "run a command once, in a container of the app's image", 'run-task web --command "./migrate" --wait')
    .option("--command <cmd>", "what to run, by the image's /bin/sh, with the app's variables, in /")
    .option("--name <name>", "what to call it (made up)")
    .option("-m, --memory <size>", "its memory (the app's)")
    .option("-k, --disk <size>", "its disk (the app's)")
    .option("--result-file <path>", "a file of the container that becomes its result, at most 50 KB; a task without it fails")
    .option("--wait", "until it has ended; exit 1 if it failed")
    .option("-t, --timeout <seconds>", "how long to wait; the task goes on (3600)")
    .action((name, options, command) => runTask(contextOf(command), name, options));
  remote("tasks <name>", "an app's tasks; finished ones show for 2 minutes", "tasks web").action((name, _, command) =>
    tasks(contextOf(command), name),
  );
  remote(
    "terminate-task <name> <id>",
    "end a task: by its guid, the first letters of its own part, or its name",
    "terminate-task web migrate",
  ).action((name, id, _, command) => terminateTask(contextOf(command), name, id));
  remote("explain <name[/index]>", "why an app's instances are in the state they are in", "explain web/0").action(
    (target, _, command) => explainVerb(contextOf(command), target),
  );

  remote("status", "the platform's processes, and whether it is ready", "status").action((_, command) =>
    status(contextOf(command)),
  );
  remote("cells", "list cells", "cells").action((_, command) => cells(contextOf(command)));
  remote("cell <id>", "show a cell", "cell cell-1").action((id, _, command) => cell(contextOf(command), id));
  remote("evacuate <cell>", "move a cell's instances elsewhere; it takes no new work", "evacuate cell-1 --wait")
    .option("--wait", "until the cell is empty; tells what it waits for")
    .option("--cancel", "take it back")
    .action((id, options, command) => evacuate(contextOf(command), id, options));
  remote("forget <cell>", "give up a cell that is gone for good", "forget cell-2").action((id, _, command) =>
    forget(contextOf(command), id),
  );
  remote("feature-flags", "list feature flags", "feature-flags").action((_, command) => featureFlags(contextOf(command)));
  remote("feature-flag <name>", "show a feature flag", "feature-flag diego_docker").action((name, _, command) =>
    featureFlag(contextOf(command), name),
  );
  remote("enable-feature-flag <name>", "turn a feature on", "enable-feature-flag diego_docker").action((name, _, command) =>
    setFeatureFlag(contextOf(command), name, true),
  );
  remote("disable-feature-flag <name>", "turn a feature off", "disable-feature-flag diego_docker").action((name, _, command) =>
    setFeatureFlag(contextOf(command), name, false),
  );
  remote("domains", "list the domains somebody vouches for", "domains").action((_, command) => domains(contextOf(command)));
  remote("locks", "list the locks that are held", "locks").action((_, command) => locks(contextOf(command)));
  remote("lrps", "list instances of every domain", "lrps --state CRASHED")
    .option("--cell <id>", "on this cell")
    .option("--state <state>", "UNCLAIMED, CLAIMED, RUNNING or CRASHED")
    .action((options, command) => lrps(contextOf(command), options));
  remote("all-tasks", "list tasks of every domain", "all-tasks").action((_, command) => allTasks(contextOf(command)));
  remote("plan", "would these instances fit, and where", "plan --docker-image nginx -i 10 -m 512M")
    .option("-o, --docker-image <ref>", "the image")
    .option("-i, --instances <n>", "how many (1)")
    .option("-m, --memory <size>", "memory of each (256M)")
    .option("-k, --disk <size>", "disk of each (1G)")
    .action((options, command) => plan(contextOf(command), options));

  remote("converge", "repair now what does not match what is wanted: one full cycle", "converge --dry-run")
    .option("--dry-run", "print the repairs, ask for none")
    .action((options, command) => converge(contextOf(command), options));
  remote("watch [kind]", "follow changes of records, with their revisions, until interrupted", "watch actual-lrps --json")
    .option("--after <token>", "go on after this token, as it was printed")
    .action((kind, options, command) => watch(contextOf(command), kind, options));

  verb(
    "simulate <file>",
    "the auction over a fleet and load described in a file; needs no platform",
    "simulate packages/cli/scenarios/rolling-deploy.yml --svg spread.svg",
  )
    .option("--svg <file>", "draw the outcome")
    .action((file, options, command) => simulate(contextOf(command), file, options));

  remote("backup <file>", "copy every record to a file, while the platform serves", "backup muster.backup")
    .option("--force", "replace the file if it exists")
    .action((file, options, command) => backup(contextOf(command), file, options));
  verb(
    "restore <file>",
    "put a backup into the home's store, or into etcd, while the platform is stopped",
    "restore muster.backup --force",
  )
    .option("--force", "replace what the store holds")
    .option("--store <driver>", "lmdb (embedded) or etcd")
    .option("--etcd <urls>", "http://HOST:PORT,… of an etcd cluster")
    .option("--etcd-ca <file>", "authority of etcd's certificates")
    .option("--etcd-cert <file>", "certificate for etcd")
    .option("--etcd-key <file>", "its key")
    .option("--etcd-user <name>", "user of an etcd with authentication")
    .option("--etcd-password-file <file>", "its password: the file's first line")
    .option("--etcd-quota <size>", "what etcd's --quota-backend-bytes allows (2G)")
    .action(async (file, options, command) => (await loadRestore()).restore(contextOf(command), file, options));
  return program;
}
