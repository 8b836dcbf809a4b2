# Shared by the scripts: what is needed is installed, and a private PostgreSQL is started and stopped.
# Takes --postgres BINDIR from a script's arguments: the directory of the server's programs, of version 13 or newer; without it,
# those of pg_config are used.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
state=$root/.evt
mkdir -p "$state"

say() { if [ -t 2 ]; then printf '\033[1m%s\033[0m\n' "$*" >&2; else printf '%s\n' "$*" >&2; fi; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

pg_bin= arguments=()
while [ $# != 0 ]; do
    case $1 in
        --postgres)
            pg_bin=$(realpath -e "${2-}") || die "--postgres needs the directory of PostgreSQL's server programs"
            shift
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
# Those of the script that reads this file.
set -- "${arguments[@]}"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        die "need root to run: $*"
    fi
}

# install_debian PACKAGE …: installs packages of Debian; asks first where somebody can answer.
install_debian() {
    local answer
    if [ -t 0 ] && [ -t 2 ]; then
        read -r -p "install the Debian packages $*? [Y/n] " answer
        case $answer in [Nn]*) die "needed: $*" ;; esac
    fi
    say "installing $*"
    as_root apt-get update -qq
    # The server is only a program here: no cluster of Debian's own is wanted.
    as_root mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.d/evt.conf >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}

# unpack_debian DIRECTORY PACKAGE …: unpacks packages below a directory of the state, without installing them: theirs start servers.
unpack_debian() {
    local unpacked=$state/$1 package
    shift
    say "unpacking $*"
    as_root apt-get update -qq
    mkdir -p "$unpacked"
    (cd "$unpacked" && apt-get download -qq "$@" && for package in *.deb; do dpkg-deb -x "$package" . && rm "$package"; done)
}

# install_packages [PROGRAM=PACKAGE …]: Debian packages, also of further programs; nothing is done where they are there already.
install_packages() {
    command -v swift >/dev/null || die "Swift 6.2 or newer is needed: https://www.swift.org/install/linux"
    local missing=() program
    [ -e /usr/include/zmq.h ] || missing+=(libzmq3-dev)
    [ -e /usr/include/postgresql/libpq-fe.h ] || [ -e /usr/include/libpq-fe.h ] || missing+=(libpq-dev)
    [ -n "$pg_bin" ] || { command -v pg_config >/dev/null && [ -x "$(pg_config --bindir)/initdb" ]; } || missing+=(libpq-dev postgresql)
    command -v openssl >/dev/null || missing+=(openssl)
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    for program in "$@"; do command -v "${program%%=*}" >/dev/null || missing+=("${program##*=}"); done
    if [ ${#missing[@]} -gt 0 ]; then
        install_debian "${missing[@]}"
    fi
    pg_bin=${pg_bin:-$(pg_config --bindir)}
    as_postgres test -x "$pg_bin/initdb" || die "no PostgreSQL server programs in $pg_bin, or none that the user postgres may run"
    # For whoever asks pg_config, and for psql.
    export PATH=$pg_bin:$PATH
    [ "$(pg_config --bindir)" -ef "$pg_bin" ] || die "pg_config is missing in $pg_bin, or belongs to another PostgreSQL"
}

install_promtool() {
    command -v promtool >/dev/null && return
    [ -x "$state/prometheus/usr/bin/promtool" ] || unpack_debian prometheus prometheus
    export PATH=$PATH:$state/prometheus/usr/bin
}

# A Python of our own with what the arguments name, and the package of etc/python as it is. It finds the kit of the tests, Harness.
install_python() {
    local venv=$state/venv wanted
    # What a file of requirements says, too.
    wanted=$(for each in "$@"; do [ ! -f "$each" ] && echo "$each" || cat "$each"; done)
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
        [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
        echo "$wanted" >"$venv/installed"
    fi
    python=$venv/bin/python
    echo "$root/etc/python" >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/eventstream.pth"
    export PYTHONPATH=$root/Tests PYTHONDONTWRITEBYTECODE=1
}

# build_release PRODUCT …: builds programs for use, unless nothing has changed since, and sets where they are: release.
build_release() {
    local product changed
    release=$(cat "$state/release" 2>/dev/null || true)
    for product in "$@"; do
        if [ -x "$release/$product" ]; then
            changed=$(find Package.swift Sources Tests -newer "$release/$product" ! -name '*.py' ! -name '*.pyc' -print -quit)
            [ -n "$changed" ] || continue
        fi
        say "building $product; the first time takes some minutes (the log is $state/build.log)"
        swift build -c release --product "$product" 2>&1 | tee "$state/build.log" | show_progress ||
            { cat "$state/build.log"; die "the build of $product failed"; }
        release=$(swift build -c release --show-bin-path)
        echo "$release" >"$state/release"
        # What is up to date keeps its time, and would be looked at again.
        touch "$release/$product"
    done
}

# Shows the last line of a build's log that counts steps, on one line of a terminal.
show_progress() {
    local line
    while read -r line; do
        if [ -t 2 ] && [[ $line = \[*/*\]* ]]; then printf '\r\033[K%.70s' "$line" >&2; fi
    done
    [ ! -t 2 ] || printf '\r\033[K' >&2
}

# scenario NAME [ARGUMENT …]: runs Tests/NAME on the release programs and PostgreSQL servers of its own.
scenario() {
    install_packages
    install_python -r Tests/requirements.txt
    build_release evt evt-generator evt-pusher evt-archiver evt-discarder
    exec "$python" "Tests/$1/main.py" --postgres "$pg_bin" --programs "$release" "${@:2}"
}

# PostgreSQL refuses to run as root.
as_postgres() {
    # Descriptor 9 may be a lock of the script's; a server must not keep it.
    if [ "$(id -u)" = 0 ]; then su postgres -s /bin/bash -c "$(printf '%q ' "$@")" 9>&-; else "$@" 9>&-; fi
}

# free_port FILE: a free port of this machine; the one in the file, if it is free still.
free_port() {
    python3 - "$1" <<'PYTHON'
import pathlib, socket, sys
file = pathlib.Path(sys.argv[1])
for port in ([int(file.read_text())] if file.exists() else [], [0]):
    try:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port[0]))
            file.write_text(str(s.getsockname()[1]))
            print(s.getsockname()[1])
            break
    except (OSError, IndexError):
        continue
PYTHON
}

# free_ports PORT COUNT: the first of so many ports in a row that nobody listens at: PORT, or some thousands above it.
free_ports() {
    local first=$1 port
    while [ "$first" -le 65000 ]; do
        for ((port = first; port < first + $2; port++)); do
            if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                first=$((first + 1000))
                continue 2
            fi
        done
        echo "$first"
        return
    done
    die "no $2 free ports in a row from $1 on"
}

# listener PORT: who listens at a port of this machine, as "evt-pusher, pid 17"; "another program" where that cannot be seen.
listener() {
    python3 - "$1" <<'PYTHON'
import pathlib, sys
port, inodes = f"{int(sys.argv[1]):04X}", set()
for table in ("/proc/net/tcp", "/proc/net/tcp6"):
    try:
        rows = [line.split() for line in pathlib.Path(table).read_text().splitlines()[1:]]
    except OSError:
        continue
    inodes |= {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].rsplit(":", 1)[1] == port}
found = "another program"
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
            found = f"{(process / 'comm').read_text().strip()}, pid {process.name}"
            break
    except OSError:
        continue
print(found)
PYTHON
}

# start_postgres NAME [setting=value …]: starts the private cluster of that name, made if need be.
# Sets pg_data, pg_port and pg_url (of a superuser, without a database).
start_postgres() {
    local name=$1 settings=() setting version
    shift
    for setting in "$@"; do settings+=(-c "$setting"); done
    pg_data=$state/$name
    if [ "$(id -u)" = 0 ] && ! su postgres -s /bin/sh -c "test -x '$state'"; then
        # The user postgres cannot get here, as in a clone below /root.
        pg_data=/var/tmp/evt-$(printf '%s' "$root" | cksum | cut -d' ' -f1)-$name
    fi
    # Each version reads its own data only.
    version=$("$pg_bin/initdb" --version | grep -o '[0-9]*' | head -n 1)
    [ "$(cat "$pg_data/PG_VERSION" 2>/dev/null || echo "$version")" = "$version" ] || pg_data+=-$version
    local run=$pg_data.run
    mkdir -p "$pg_data" "$run"
    [ "$(id -u)" != 0 ] || chown postgres "$pg_data" "$run"
    chmod 700 "$pg_data" "$run"
    [ -e "$pg_data/PG_VERSION" ] ||
        as_postgres "$pg_bin/initdb" -D "$pg_data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
    # A path too long for a unix socket is done without.
    [ ${#run} -lt 80 ] || run=
    if ! as_postgres "$pg_bin/pg_ctl" -D "$pg_data" status >/dev/null 2>&1; then
        as_postgres "$pg_bin/pg_ctl" -D "$pg_data" -w -t 120 -l "$pg_data/log" -o "$(printf '%q ' \
            -c listen_addresses=127.0.0.1 -c port="$(free_port "$state/${pg_data##*/}.port")" -c unix_socket_directories="$run" "${settings[@]}")" \
            start >/dev/null || die "PostgreSQL did not start; see $pg_data/log"
    fi
    pg_port=$(sed -n 4p "$pg_data/postmaster.pid")
    pg_url="host=127.0.0.1 port=$pg_port user=postgres"
}

stop_postgres() { [ -z "${pg_data:-}" ] || as_postgres "$pg_bin/pg_ctl" -D "$pg_data" -m fast -w stop >/dev/null 2>&1 || true; }

psql_in() { PGCONNECT_TIMEOUT=10 "$pg_bin/psql" -X -q -v ON_ERROR_STOP=1 "$pg_url dbname=$1" "${@:2}"; }
