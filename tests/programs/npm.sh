#!/usr/bin/env bash
# npm install from an archive and from a folder: links to programs, a link to the folder; without a registry.
. "$(dirname "$0")/common.sh"

# project FOLDER: a project with two dependencies; each has a program.
project() {
  mkdir -p "$1/app" "$1/beside"
  (
    cd "$1/beside"
    cat >package.json <<<'{"name":"beside","version":"1.0.0","bin":{"beside":"cli.js"}}'
    printf '#!/usr/bin/env node\nconsole.log("beside says", require("packed").word)\n' >cli.js
    chmod 755 cli.js
    cd ../app
    cat >package.json <<<'{"name":"app","version":"1.0.0","scripts":{"start":"packed && beside"}}'
    # The linked folder finds its dependency beside it.
    mkdir ../node_modules
    ln -s ../app/node_modules/packed ../node_modules/packed
    npm install --offline --no-audit --no-fund --install-links=false "$2/packed-1.0.0.tgz" ../beside
  )
}

work() {
  local here=$1 local=$2 number
  mkdir -p "$local/packed/lib"
  for ((number = 0; number < 60 * SCALE; number++)); do
    echo "exports.number = $number" >"$local/packed/lib/part-$number.js"
  done
  echo 'exports.word = "hello"' >"$local/packed/index.js"
  printf '#!/usr/bin/env node\nconsole.log("packed says", require("..").word)\n' >"$local/packed/lib/cli.js"
  chmod 755 "$local/packed/lib/cli.js"
  cat >"$local/packed/package.json" <<<'{"name":"packed","version":"1.0.0","bin":{"packed":"lib/cli.js"}}'
  (cd "$local" && npm pack --silent ./packed)
  project "$local/project" "$local"
  project "$here/project" "$local"
  cd "$here/project/app"
  [ -L node_modules/.bin/packed ] || fails "npm made no link to the program"
  [ "$(readlink node_modules/beside)" = ../../beside ] || fails "npm made no link to the folder"
  npm start --silent | tee "$local/said"
  [ "$(cat "$local/said")" = $'packed says hello\nbeside says hello' ] || fails "the programs said something else"
  # npm records relative paths and the time of its work.
  diff -r --no-dereference -x .package-lock.json -x package-lock.json -x package.json "$local/project" "$here/project"
  npm ci --offline --no-audit --no-fund --install-links=false
  npm start --silent | cmp - "$local/said"
  npm uninstall --offline --no-audit --no-fund packed
  [ ! -e node_modules/packed ] && [ ! -L node_modules/.bin/packed ] || fails "npm has not removed the dependency"
}

check() {
  same_files "$2/project/beside" "$1/project/beside"
}

start "$@"
