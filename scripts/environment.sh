# Sourced by scripts/demo and scripts/test: finds Python, makes virtual environments, installs packages.

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

stop() {
  printf '%s\n' "$*" >&2
  exit 2
}

# Runs apt-get as root where that is possible; else says what a person has to install.
apt_install() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      stop "please install first: sudo apt-get install $*"
    fi
    as_root=(sudo -n)
  fi
  command -v apt-get >/dev/null || stop "please install first: $*"
  say "installing $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# Installs the packages of those commands that are missing: apt_install_missing COMMAND[:PACKAGE]...
apt_install_missing() {
  local tool missing=()
  for tool in "$@"; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
  done
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# Sets PYTHON to the first interpreter of 3.11 or later, DROPSIGHT_PYTHON before all others.
need_python() {
  local candidate
  for candidate in ${DROPSIGHT_PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
      PYTHON=$candidate
      return
    fi
  done
  apt_install python3 python3-venv
  PYTHON=python3
  "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' ||
    stop "dropsight needs Python 3.11 or later; here python3 is $("$PYTHON" -V 2>&1)"
}

# Makes the virtual environment $1 unless it is there and works.
make_environment() {
  if "$1/bin/python" -c 'import pip' 2>/dev/null; then return; fi
  say "making the virtual environment $1"
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  "$PYTHON" -m venv --clear "$1"
}

# Runs pip install in the environment $1; where somebody looks on, pip shows how far it is.
pip_into() {
  local environment=$1 quiet=(--quiet)
  shift
  [ ! -t 2 ] || quiet=()
  if [ -n "${uv_program:-}" ] && uv_into "$environment" "${quiet[@]}" "$@"; then return; fi
  "$environment/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check "$@" >&2
}

# Sets uv_program to a uv in the environment $1: it installs gigabytes in a quarter of pip's time. Without it pip does.
need_uv() {
  uv_program=$PWD/$1/bin/uv
  [ -x "$uv_program" ] || "$1/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.5' 2>/dev/null >&2 || uv_program=
}

# uv heeds none of pip's settings: it is told them.
uv_into() {
  local environment=$1 key value settings=()
  shift
  while IFS='=' read -r key value; do
    value=${value#\'} value=${value%\'}
    case ${key##*.} in
      index-url) settings+=("UV_DEFAULT_INDEX=$value") ;;
      extra-index-url) settings+=("UV_INDEX=$value" UV_INDEX_STRATEGY=unsafe-best-match) ;;
      find-links) settings+=("UV_FIND_LINKS=$value") ;;
      constraint) settings+=("UV_CONSTRAINT=$value") ;;
      cert) settings+=("SSL_CERT_FILE=$value") ;;
    esac
  done < <("$environment/bin/python" -m pip config list)
  env "${settings[@]}" "$uv_program" pip install --python "$environment/bin/python" "$@" >&2
}

# Installs pip requirements into the environment $1, unless that very set went in before.
install_into() {
  local environment=$1 mark
  shift
  mark="$environment/.installed-$(printf '%s\n' "$*" "$PWD" | cat - pyproject.toml | sha256sum | cut -c1-16)"
  if [ -e "$mark" ]; then return; fi
  say "installing $* into $environment${effort:+: $effort}"
  pip_into "$environment" --editable "$@"
  touch "$mark"
}
