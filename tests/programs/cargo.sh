#!/usr/bin/env bash
# cargo: a workspace of crates is built, tested, and built again after a change. cargo makes hard links and locks files.
. "$(dirname "$0")/common.sh"

# The proxies of rustup need the home folder of their user.
PATH=$(rustc --print sysroot)/bin:$PATH

# crate FOLDER NAME DEPENDENCY...
crate() {
  local folder=$1/$2 name=$2 dependency
  shift 2
  mkdir -p "$folder/src"
  {
    printf '[package]\nname = "%s"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\n' "$name"
    for dependency in "$@"; do
      printf '%s = { path = "../%s" }\n' "$dependency" "$dependency"
    done
  } >"$folder/Cargo.toml"
}

workspace() {
  local number names=()
  for ((number = 0; number < 3 * SCALE; number++)); do
    names+=("part_$number")
    crate "$1" "part_$number"
    printf 'pub fn number() -> u64 { %d }\n#[cfg(test)] mod tests { #[test] fn works() { assert_eq!(super::number(), %d); } }\n' \
      $number $number >"$1/part_$number/src/lib.rs"
  done
  crate "$1" program "${names[@]}"
  {
    echo 'fn main() { println!("{}", [0,'
    printf '%s::number(), ' "${names[@]}"
    echo '].iter().sum::<u64>()); }'
  } >"$1/program/src/main.rs"
  printf '[workspace]\nresolver = "2"\nmembers = ["*"]\nexclude = ["target"]\n' >"$1/Cargo.toml"
}

work() {
  local here=$1 local=$2
  export CARGO_HOME=$local/cargo CARGO_TERM_COLOR=never CARGO_NET_OFFLINE=true
  unset CARGO_TARGET_DIR
  workspace "$local/workspace"
  workspace "$here/workspace"
  cd workspace
  cargo build --quiet
  [ "$(target/debug/program)" = $((3 * SCALE * (3 * SCALE - 1) / 2)) ] || fails "the program computes $(target/debug/program)"
  cargo build 2>&1 | tee "$local/again"
  ! grep -q Compiling "$local/again" || fails "cargo compiles again what has not changed"
  sed -i 's/ 1 }/ 1001 }/' part_1/src/lib.rs
  cargo build 2>&1 | tee "$local/again"
  [ "$(grep -c Compiling "$local/again")" = 2 ] || fails "cargo compiles other crates than the changed one and the program"
  sed -i 's/ 1001 }/ 1 }/' part_1/src/lib.rs
  cargo test --quiet --workspace
  cargo build --quiet --release
  cp target/release/program "$local/program"
  same "$local/workspace/part_1/src" part_1/src
}

check() {
  same_files "$2/workspace" "$1/workspace"
  cmp "$2/program" "$1/workspace/target/release/program"
}

start "$@"
