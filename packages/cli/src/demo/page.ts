// What runs inside the demo container: a page that tells instances apart, and a clean end when asked to stop.

export const demoCommand = "/bin/demo";

/**
 * The shell stays the first process: as such the kernel would hide SIGTERM from an httpd without a handler, and every stop would
 * take its whole grace time. An httpd that dies ends the container with its status, so killing it is a crash like any other.
 */
export const demoScript = `#!/bin/sh
set -eu
port=\${PORT:-8080}
index=\${INSTANCE_INDEX:-\${CF_INSTANCE_INDEX:-?}}
guid=\${INSTANCE_GUID:-\${CF_INSTANCE_GUID:-?}}
where=\${CF_INSTANCE_ADDR:-\${CF_INSTANCE_IP:-?}}
cell=\${CELL_ID:-}

mkdir -p /tmp/www
cat > /tmp/www/index.html <<PAGE
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Muster demo</title>
<style>body{font:18px/1.6 sans-serif;margin:4em auto;max-width:40em}b{font-size:4em;line-height:1}</style></head>
<body><h1>Muster runs this.</h1><p><b>$index</b></p>
<dl><dt>instance index</dt><dd>$index</dd><dt>instance guid</dt><dd>$guid</dd><dt>address</dt><dd>$where</dd>
\${cell:+<dt>cell</dt><dd>$cell</dd>}</dl></body></html>
PAGE

echo "demo: instance $index ($guid) serves on port $port"
httpd -f -v -p "$port" -h /tmp/www &
child=$!
trap 'echo "demo: asked to stop"; kill "$child"; exit 0' TERM INT
wait "$child"
`;
