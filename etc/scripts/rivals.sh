# Installs what etc/bench rivals compares with, from Debian and PyPI; common.sh was read before.
# shellcheck shell=bash

# Debian's package of a PostgreSQL extension belongs to the server that Debian has installed.
install_extensions() {
    local version policy=/usr/sbin/policy-rc.d ours=
    [ ! -e "$(pg_config --sharedir)/extension/pgq.control" ] || [ ! -e "$(pg_config --pkglibdir)/wal2json.so" ] || return 0
    version=$("$pg_bin/postgres" --version | grep -o '[0-9]*' | head -n 1)
    if [ ! -e $policy ]; then
        # PgQ brings a service with it, which must not start.
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
        ours=1
    fi
    install_debian "postgresql-$version-pgq3" pgqd "postgresql-$version-wal2json" || say "PgQ and wal2json could not be installed"
    [ -z "$ours" ] || as_root rm $policy
}

install_python -r Tests/Rivals/requirements.txt
install_extensions
command -v redis-server >/dev/null || [ -x "$state/redis/usr/bin/redis-server" ] ||
    unpack_debian redis redis-server redis-tools liblzf1 libjemalloc2
