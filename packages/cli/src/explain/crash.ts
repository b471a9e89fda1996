// What to do about a crash, from its reason: the registry's, the kernel's, the health check's or the app's own words. Pure.

interface Reading {
  readonly pattern: RegExp;
  readonly advice: (app: string) => string;
}

/** The first that fits decides. The wordings are those of packages/garden (images) and of the rep, which are Diego's. */
const readings: readonly Reading[] = [
  {
    pattern: /there is no image/,
    advice: (app) =>
      `push the image again, or another one with \`muster push ${app} --docker-image REF\`: its registry does not have it`,
  },
  {
    pattern: /refuses access to/,
    advice: (app) =>
      `check the image's name, or give a user name with \`muster push ${app} --docker-username NAME\` and the password in CF_DOCKER_PASSWORD`,
  },
  {
    pattern: /speaks plain HTTP/,
    advice: () => "start the platform with --insecure-registry for this registry, or give the registry a certificate",
  },
  {
    pattern: /certificate of registry/,
    advice: () => "start the platform with --registry-ca FILE, the registry's certificate authority",
  },
  {
    pattern: /too many requests/,
    advice: (app) => `wait, or log in with \`muster push ${app} --docker-username NAME\``,
  },
  {
    pattern: /registry .* (?:cannot be reached|did not answer)/,
    advice: () => "bring the registry back, or the network to it; the cell asks again by itself",
  },
  {
    pattern: /no disk space left/,
    advice: () => "free disk on that cell's machine: it cannot hold another image",
  },
  {
    pattern: /out of memory/,
    advice: (app) => `give it more memory with \`muster push ${app} -m SIZE\`: it used all it has`,
  },
  {
    pattern: /No space left on device|disk quota exceeded/i,
    advice: (app) => `give it more disk with \`muster push ${app} -k SIZE\`: it used all it has`,
  },
  {
    pattern: /never healthy|health check never passed|startup check to succeed|Liveness check unsuccessful|became unhealthy/i,
    advice: (app) =>
      `see \`muster logs ${app} --recent\`: it must listen on its port (PORT) on all addresses in time; a longer start is allowed with -t, another check with --health-check-type`,
  },
  {
    pattern: /failed to create container/,
    advice: (app) => `see \`muster logs ${app} --recent\`, and the log of that cell: the container could not be made`,
  },
  {
    pattern: /Exited with status|^exited$/,
    advice: (app) => `see what it said last with \`muster logs ${app} --recent\`, mend it and push it again`,
  },
];

export const crashAdvice = (app: string, reason: string): string =>
  readings.find(({ pattern }) => pattern.test(reason))?.advice(app) ??
  `see \`muster logs ${app} --recent\` and \`muster events ${app}\``;
