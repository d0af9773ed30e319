#!/usr/bin/env bash
# make: a C program of many files is built, built again after changes, and installed with links.
. "$(dirname "$0")/common.sh"

project() {
  local number files=$((12 * SCALE))
  mkdir -p "$1"
  {
    echo '#include "all.h"'
    echo '#include <stdio.h>'
    echo 'int main(void) { long sum = WORD;'
    for ((number = 0; number < files; number++)); do
      echo "  sum += part_$number();"
    done
    echo '  printf("%ld\n", sum); return 0; }'
  } >"$1/main.c"
  {
    echo '#define WORD 1000'
    for ((number = 0; number < files; number++)); do
      echo "long part_$number(void);"
    done
  } >"$1/all.h"
  for ((number = 0; number < files; number++)); do
    echo "long part_$number(void) { return $number; }" >"$1/part_$number.c"
  done
  cat >"$1/Makefile" <<'END'
objects := $(patsubst %.c,%.o,$(wildcard part_*.c))
program: main.o libparts.a
	cc -o $@ main.o -L. -lparts
libparts.a: $(objects)
	ar rcs $@ $^
main.o: all.h
install: program
	install -D -m 755 program $(DESTDIR)/bin/program-1.0
	ln -sf program-1.0 $(DESTDIR)/bin/program
	ln -f $(DESTDIR)/bin/program-1.0 $(DESTDIR)/bin/program-static
	install -D -m 644 libparts.a $(DESTDIR)/lib/libparts.a
clean:
	rm -f *.o *.a program
END
}

work() {
  local here=$1 local=$2
  project "$local/project"
  make -s -C "$local/project" -j2
  make -s -C "$local/project" install DESTDIR="$local/installed"
  project "$here/project"
  cd project
  make -s -j2
  [ "$(./program)" = "$("$local/project/program")" ] || fails "the built program computes something else"
  make --question || fails "make wants to build again at once"
  sed -i 's/1000/2000/' all.h
  make | tee "$local/again"
  [ "$(grep -c -- ' -c ' "$local/again")" = 1 ] || fails "make has not built just the file that depends on the change"
  [ $(($(./program) - $("$local/project/program"))) = 1000 ] || fails "the changed program computes the old value"
  touch part_1.c
  make | tee "$local/again"
  [ "$(grep -c -- ' -c ' "$local/again")" = 1 ] || fails "make has not built just the touched file"
  sed -i 's/2000/1000/' all.h
  make -s
  make -s install DESTDIR="$here/installed"
  same "$local/installed" "$here/installed"
  [ "$("$here/installed/bin/program")" = "$("$local/project/program")" ] || fails "the installed program"
  make -s clean
  rm "$local"/project/*.o "$local/project/libparts.a" "$local/project/program"
  same "$local/project" "$here/project"
}

check() {
  same_files "$2/project" "$1/project"
  same_files "$2/installed" "$1/installed"
}

start "$@"
