# Sourced by the scripts that build: says beforehand how much is to be compiled and how long that takes, and meanwhile that it goes on.

# What all crates that the program uses together take on one processor, in minutes, measured on a virtual machine.
MINUTES=7
# How often a build says that it goes on, in seconds.
TICK=20

# build MINUTES CARGO-ARGUMENTS...: runs cargo with them. MINUTES is what compiling this package itself takes on one processor.
build() {
  local own=$1 wanted total missing alive status=0
  shift
  echo "== looking at what is to be compiled (cargo downloads what is missing)"
  wanted=$(cargo tree --locked --edges normal,build,dev --prefix none --format '{p}' | sed 's/ v.*//' | sort -u)
  total=$(wc -l <<<"$wanted")
  missing=$(comm -23 <(cat <<<"$wanted") <(compiled) | wc -l)
  echo "== building: $missing of $total crates are to be compiled, and what has changed here; $(estimate "$own" "$missing" "$total")"
  # Its input ends with this function, or with this process however that ends; cargo must not hold it open.
  exec {alive}> >(say_that_it_goes_on "$total")
  cargo "$@" {alive}>&- || status=$?
  exec {alive}>&-
  return $status
}

# compiled: the names of the crates that have been compiled here. When it has compiled one, cargo writes .fingerprint/NAME-HASH/lib-….json.
compiled() {
  compgen -G "${CARGO_TARGET_DIR:-target}/release/.fingerprint/*/lib-*.json" | sed 's:.*fingerprint/\(.*\)-[0-9a-f]*/lib-.*:\1:' | sort -u
}

# estimate OWN MISSING TOTAL: how long it takes to compile these crates and this package, in words.
estimate() {
  local processors seconds
  processors=$(nproc)
  seconds=$(((60 * $1 + 60 * MINUTES * $2 / $3) / processors))
  echo "with $processors idle processors that takes up to $(((seconds + 59) / 60)) min"
}

# say_that_it_goes_on TOTAL: says so again and again until its input ends.
say_that_it_goes_on() {
  local start=$SECONDS clear="" seconds
  # On a terminal cargo draws a line of its own.
  [ ! -t 1 ] || clear=$'\r\e[K'
  until read -rt "$TICK" || [ $? -le 128 ]; do
    seconds=$((SECONDS - start))
    printf '%s== still building after %d:%02d, %d of %d crates are compiled\n' \
      "$clear" $((seconds / 60)) $((seconds % 60)) "$(compiled | wc -l)" "$1"
  done
}
