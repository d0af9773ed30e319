# Sourced by tests/fresh: the commands that are run in the new system, and a verdict on each.

# The longest permitted time without output while a command builds, in seconds.
SILENCE=60

# check_all ARGUMENTS-OF-TESTS/RUN...: runs all checks. Returns 1 if one failed.
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

# The README's next step must reuse everything that the demo has built, and its program must be stripped.
check_build() {
  local again size
  check "cargo build --release" sh -c 'PATH="$HOME/.cargo/bin:$PATH" exec cargo build --release' || return 1
  again=$(grep -c '^ *Compiling ' "$root/../output" || true)
  size=$(stat -c %s "$root$place/target/release/cifs-fuse")
  if [ "$again" -gt 0 ]; then
    verdict FAIL "cargo build --release compiled $again crates again after the demo"
    return 1
  elif [ "$size" -gt 15000000 ]; then
    verdict FAIL "the program has $size bytes, so it is not stripped"
    return 1
  fi
  verdict pass "cargo build --release reuses the demo's build; the program has $((size / 1000000)) MB"
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
      verdict FAIL "$command does not refuse Debian's cargo"
      failed=1
    elif grep -q "too old" "$root/../output" && grep -q "sh.rustup.rs" "$root/../output" &&
      ! grep -qE "Compiling|installing" "$root/../output"; then
      verdict pass "$command reports the remedy for Debian's cargo:"
    else
      verdict FAIL "$command with Debian's cargo:"
      failed=1
    fi
    cat "$root/../output"
  done
  return $failed
}

# check NAME COMMAND...: runs the command in the new system, shows its output, and prints whether it
# succeeded. The output is left in $root/../output, and the longest time without output, in seconds, in
# $silence.
check() {
  local name=$1 start=$SECONDS last=$SECONDS status=0 line
  shift
  silence=0
  echo "== $name"
  # The loop is not a part of a pipeline: in a subshell it could not set $silence.
  while IFS= read -r line; do
    [ $((SECONDS - last)) -le "$silence" ] || silence=$((SECONDS - last))
    last=$SECONDS
    printf '%s\n' "$line"
  done < <({ there "$@" && status=0 || status=$?; echo $status >"$root/../status"; } | tee "$root/../output")
  status=$(cat "$root/../status")
  local took=$((SECONDS - start))
  if [ "$status" = 0 ]; then
    verdict pass "$name in $((took / 60)):$(printf %02d $((took % 60))), at most $silence s without output"
  else
    verdict FAIL "$name: exit code $status"
    return 1
  fi
}

verdict() {
  printf '## %s %s\n' "$1" "$2"
}
