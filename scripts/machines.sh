# Sourced by scripts/test-systemd and scripts/test-arm64, after environment.sh: bare Debian systems, and wheels for them.

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/dropsight

# Exit code of what cannot be tried on this machine; the last line on stderr says why.
SKIPPED=77

# Runs a command where packages can be fetched: the tests' own network has none.
outside() {
  if [ -n "${_DROPSIGHT_OUTER_NETWORK:-}" ]; then
    nsenter --net="$_DROPSIGHT_OUTER_NETWORK" "$@"
  else
    "$@"
  fi
}

skip() {
  printf 'skipped: %s\n' "$*" >&2
  exit "$SKIPPED"
}

# Installs by apt whichever of the commands is missing: need_tools COMMAND:PACKAGE...
need_tools() {
  [ "$(id -u)" = 0 ] || skip "needs root"
  (apt_install_missing "$@") || skip "cannot install what it takes: $*"
}

# Makes a system in the folder $1, a copy of one kept in the cache: bare_debian FOLDER SUITE ARCH VARIANT PACKAGES
bare_debian() {
  local folder=$1 suite=$2 arch=$3 variant=$4 packages=$5 kept log
  kept=$CACHE/$suite-$arch-$(printf '%s' "$variant $packages" | sha256sum | cut -c1-8)
  if [ ! -d "$kept" ]; then
    say "making a bare Debian $suite for $arch"
    mkdir -p "$CACHE"
    log=$(mktemp)
    rm -rf --one-file-system "$kept.part"
    # Extracting runs nothing of the other architecture; there the folders that packages fill last are missing.
    if ! outside mmdebstrap --quiet --variant="$variant" --architectures="$arch" --include="$packages" \
      --aptopt='Acquire::Retries "3"' "$suite" "$kept.part" >"$log" 2>&1; then
      tail -n 5 "$log" >&2
      rm -rf --one-file-system "$kept.part" "$log"
      skip "a bare Debian cannot be made here"
    fi
    rm -f "$log"
    mv "$kept.part" "$kept"
  fi
  cp -a --reflink=auto "$kept" "$folder"
}

# Sets PLATFORM to what tells pip of another machine: Python version $1, architecture $2, every glibc up to Debian 12's.
platform_of() {
  local minor
  PLATFORM=(--python-version "$1" --implementation cp --platform "manylinux2014_$2" --platform any)
  for minor in $(seq 17 36); do PLATFORM+=(--platform "manylinux_2_${minor}_$2"); done
}

# Puts this project's wheel, and the files that scripts/install takes, into a folder for another machine:
#   wheels_for FOLDER PYTHON_VERSION ARCH
# pip runs out here, with whatever index and certificates are set up; in there nothing is downloaded.
wheels_for() {
  local folder=$1 version=$2 arch=$3
  need_python
  "$PYTHON" -m pip --version >/dev/null 2>&1 || { make_environment .venv-test; PYTHON=$PWD/.venv-test/bin/python; }
  platform_of "$version" "$arch"
  say "collecting wheels for Python $version on $arch"
  mkdir -p "$folder"
  outside "$PYTHON" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir "$folder" . ||
    skip "the wheel cannot be built: no package index?"
  outside "$PYTHON" -m pip download -qq --disable-pip-version-check --dest "$folder" --only-binary=:all: \
    "${PLATFORM[@]}" --require-hashes --requirement scripts/service.lock --requirement scripts/build.lock ||
    stop "there is an index, and what is locked cannot be had: scripts/lock"
}
