# Sourced by tests/fresh: what is done in the new system, and the verdict on each.

# The longest time without a word, in seconds, while something is built.
SILENCE=60

# check_all ARGUMENTS-OF-TESTS/RUN...
check_all() {
  if [ "$old_cargo" = yes ]; then
    check_old_cargo
    return
  fi
  local failed=0 run
  check_demo || failed=1
  check_build || failed=1
  for ((run = 1; run <= times; run++)); do
    check "tests/run, $run of $times" tests/run "$@" || failed=1
  done
  return $failed
}

check_demo() {
  check "tests/demo --once" tests/demo --once || return 1
  if [ "$silence" -gt $SILENCE ]; then
    verdict FAIL "the demo was silent for $silence s"
    return 1
  fi
}

# The README's next step finds all that the demo has built, and makes what is to be installed.
check_build() {
  local again size
  check "cargo build --release" sh -c 'PATH="$HOME/.cargo/bin:$PATH" exec cargo build --release' || return 1
  again=$(grep -c '^ *Compiling ' "$root/../output" || true)
  size=$(stat -c %s "$root$place/target/release/cifs-fuse")
  if [ "$again" -gt 0 ]; then
    verdict FAIL "cargo build --release after the demo compiled $again crates again"
    return 1
  elif [ "$size" -gt 15000000 ]; then
    verdict FAIL "the program has $size bytes: it is not stripped"
    return 1
  fi
  verdict pass "the demo's build is the program's; it has $((size / 1000000)) MB"
}

check_old_cargo() {
  local command failed=0
  echo "== installing Debian's own cargo"
  there sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends cargo' >"$root/../output" || {
    tail -n 20 "$root/../output"
    return 1
  }
  for command in "tests/demo --once" tests/run; do
    if there $command >"$root/../output"; then
      verdict FAIL "$command goes on with Debian's cargo"
      failed=1
    elif grep -q "too old" "$root/../output" && grep -q "sh.rustup.rs" "$root/../output" &&
      ! grep -qE "Compiling|installing" "$root/../output"; then
      verdict pass "$command says what to do about Debian's cargo:"
    else
      verdict FAIL "$command with Debian's cargo:"
      failed=1
    fi
    cat "$root/../output"
  done
  return $failed
}

# check NAME COMMAND...: runs it in the new system, shows what it says, and says whether it succeeded. Leaves its output in
# $root/../output, and in $silence how long it said nothing, in seconds.
check() {
  local name=$1 start=$SECONDS last=$SECONDS status=0 line
  shift
  silence=0
  echo "== $name"
  # The loop is not the end of a pipe, since it could not set $silence there.
  while IFS= read -r line; do
    [ $((SECONDS - last)) -le "$silence" ] || silence=$((SECONDS - last))
    last=$SECONDS
    printf '%s\n' "$line"
  done < <({ there "$@" && status=0 || status=$?; echo $status >"$root/../status"; } | tee "$root/../output")
  status=$(cat "$root/../status")
  local took=$((SECONDS - start))
  if [ "$status" = 0 ]; then
    verdict pass "$name in $((took / 60)):$(printf %02d $((took % 60))), silent for $silence s at most"
  else
    verdict FAIL "$name: exit code $status"
    return 1
  fi
}

verdict() {
  printf '## %s %s\n' "$1" "$2"
}
