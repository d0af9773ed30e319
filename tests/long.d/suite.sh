# Sourced by tests/long: the suite of POSIX cases, and what is expected of it.

SUITE_VERSION=0.2.2
SUITE=target/tools/pjdfstest-$SUITE_VERSION

install_suite() {
  [ -x $SUITE/bin/pjdfstest ] || {
    echo "== building pjdfstest $SUITE_VERSION"
    cargo install --quiet --locked --root "$SUITE" --target-dir target/tools/build pjdfstest@$SUITE_VERSION
    rm -r target/tools/build
  }
}

# run_suite POLICY FOLDER: runs the suite in the folder of the mount and compares its failures with those expected.
run_suite() {
  local policy=$1 folder=$2 results=$home/results
  # Accounts that every Debian has.
  cat >"$home/pjdfstest.toml" <<'END'
[features]
posix_fallocate = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.05
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
END
  chmod 755 "$folder"
  # The suite fails when any case does, which is judged below.
  run_cases >"$results" || true
  # For some cases the suite makes the mount read-only by "mount -o OPTIONS MOUNTPOINT". mount(8) would start the helper only
  # if it were installed, so this starts it instead. In a run of their own: other cases leave files open.
  mkdir "$home/bin"
  ln -s "$program" "$home/bin/mount.fuse.cifs"
  printf '#!/bin/sh\nexec %s/bin/mount.fuse.cifs cifs://127.0.0.1:%s/share "$3" -o "$2"\n' "$home" "$port" >"$home/bin/mount"
  chmod 755 "$home/bin/mount"
  sed -i 's/^allow_remount.*/allow_remount = true/' "$home/pjdfstest.toml"
  PATH=$home/bin:$PATH run_cases erofs >>"$results" || true
  cat "$results"
  echo
  [ "$(grep -c '^Summary: ' "$results")" = 2 ] || {
    echo "the suite did not come to its end"
    return 1
  }
  compare_with_expected "$results" "$checkout/tests/expected/pjdfstest-$policy.txt"
}

# run_cases PATTERN...: runs the cases whose names contain a pattern, or all.
run_cases() {
  RUST_BACKTRACE=0 nice "$checkout/$SUITE/bin/pjdfstest" --configuration-file "$home/pjdfstest.toml" --path "$folder" \
    --secondary-fs "$home/local" "$@"
}

# compare_with_expected RESULTS LIST: prints what fails unexpectedly, and what passes although it is in the list. Fails if
# there is such a case.
compare_with_expected() {
  awk -v list="$2" '
    FILENAME == list {
      if (/^[ \t]*(#|$)/) next
      if (NF < 2) { print list ": a case without a reason: " $1; wrong = 1 }
      expected[$1] = 1
      next
    }
    failing { print "fails: " failing ":" $0; failing = "" }
    /^[^ \t]+ +FAILED$/ {
      if ($1 in expected) delete expected[$1]
      else { failing = $1; wrong = 1 }
    }
    /^[^ \t]+ +(ok|skipped)$/ && $1 in expected {
      print "now " ($2 == "ok" ? "passes" : "is skipped") ": " $1 ": remove it from " list
      delete expected[$1]
      wrong = 1
    }
    END {
      for (name in expected) { print "there is no case " name ": remove it from " list; wrong = 1 }
      exit wrong
    }' "$2" "$1"
}
