# Sourced by the scripts that build. Prints beforehand what is compiled and how long that takes, and progress
# during the build.

# The time to compile all crates that the program uses on one processor, in minutes, measured on a virtual
# machine.
MINUTES=7
# The time between two progress messages, in seconds.
TICK=20

# build MINUTES CARGO-ARGUMENTS...: runs cargo with these arguments. MINUTES is the time to compile this
# package itself on one processor.
build() {
  local own=$1 wanted total missing alive status=0
  shift
  echo "== listing the crates to compile (cargo downloads missing ones)"
  wanted=$(cargo tree --locked --edges normal,build,dev --prefix none --format '{p}' | sed 's/ v.*//' | sort -u)
  total=$(wc -l <<<"$wanted")
  missing=$(comm -23 <(cat <<<"$wanted") <(compiled) | wc -l)
  echo "== building: $missing of $total crates and this package are to be compiled; $(estimate "$own" "$missing" "$total")"
  # The progress loop ends when its input is closed: by this function, or by the end of this process. cargo
  # must not inherit the descriptor, because it would keep it open.
  exec {alive}> >(say_that_it_goes_on "$total")
  cargo "$@" {alive}>&- || status=$?
  exec {alive}>&-
  return $status
}

# compiled: the names of the crates that are compiled already. cargo writes .fingerprint/NAME-HASH/lib-….json
# for each.
compiled() {
  compgen -G "${CARGO_TARGET_DIR:-target}/release/.fingerprint/*/lib-*.json" | sed 's:.*fingerprint/\(.*\)-[0-9a-f]*/lib-.*:\1:' | sort -u
}

# estimate OWN MISSING TOTAL: a text with the time to compile MISSING of TOTAL crates, and this package in OWN
# minutes on one processor.
estimate() {
  local processors seconds
  processors=$(nproc)
  seconds=$(((60 * $1 + 60 * MINUTES * $2 / $3) / processors))
  echo "with $processors idle processors that takes up to $(((seconds + 59) / 60)) min"
}

# say_that_it_goes_on TOTAL: prints the progress every $TICK seconds until its input ends.
say_that_it_goes_on() {
  local start=$SECONDS clear="" seconds
  # On a terminal cargo draws a progress line, which is erased first.
  [ ! -t 1 ] || clear=$'\r\e[K'
  until read -rt "$TICK" || [ $? -le 128 ]; do
    seconds=$((SECONDS - start))
    printf '%s== still building after %d:%02d, %d of %d crates are compiled\n' \
      "$clear" $((seconds / 60)) $((seconds % 60)) "$(compiled | wc -l)" "$1"
  done
}
