#!/bin/sh
# Installs catamaran from the archive that this script lies in, or, with CATAMARAN_URL, from the archive in that folder of a
# web server. Needs root.
#   sh install.sh                                          from the unpacked archive
#   CATAMARAN_URL=https://… sh install.sh                  from a web server; the archive is checked against SHA256SUMS
#   PREFIX=/opt/catamaran sh install.sh                    elsewhere than in /usr
set -eu

prefix=${PREFIX:-/usr}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

fetch() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --output "$2" "$1" || fail "cannot fetch $1"
    elif command -v wget >/dev/null; then
        wget --no-verbose --output-document="$2" "$1" || fail "cannot fetch $1"
    else
        fail "neither curl nor wget is installed"
    fi
}

[ "$(uname -s)" = Linux ] || fail "catamaran needs Linux"
[ "$(id -u)" = 0 ] || fail "run this as root"

source=$(dirname "$0")
if [ -n "${CATAMARAN_URL:-}" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    fetch "$CATAMARAN_URL/SHA256SUMS" "$work/SHA256SUMS"
    archive=$(awk -v machine="$(uname -m)" '$2 ~ machine ".*[.]tar[.]gz$" { print $2 }' "$work/SHA256SUMS")
    [ -n "$archive" ] || fail "$CATAMARAN_URL has no archive for $(uname -m)"
    fetch "$CATAMARAN_URL/$archive" "$work/$archive"
    (cd "$work" && grep "  $archive\$" SHA256SUMS | sha256sum --check --quiet) || fail "$archive is damaged"
    tar -xzf "$work/$archive" -C "$work"
    source=$work/${archive%.tar.gz}
fi
[ -x "$source/usr/bin/catamaran" ] || fail "$source is not an unpacked archive of catamaran; set CATAMARAN_URL to download one"

mkdir -p "$prefix/bin" "$prefix/share"
# Renamed in one step: the binary may be running.
cp "$source/usr/bin/catamaran" "$prefix/bin/.catamaran.new"
mv "$prefix/bin/.catamaran.new" "$prefix/bin/catamaran"
cp -R "$source/usr/share/." "$prefix/share"
if [ -d /run/systemd/system ] || [ -d /etc/systemd/system ]; then
    for unit in "$source"/usr/lib/systemd/system/*.service; do
        sed "s|/usr/bin/catamaran|$prefix/bin/catamaran|" "$unit" >"/etc/systemd/system/$(basename "$unit")"
    done
    mkdir -p /etc/default
    for settings in "$source"/etc/default/*; do
        [ -e "/etc/default/$(basename "$settings")" ] || cp "$settings" /etc/default/
    done
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi

missing=
for program in containerd runc iptables nft busybox; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -e /usr/lib/cni/bridge ] || [ -e /opt/cni/bin/bridge ] || missing="$missing CNI-plugins"
"$prefix/bin/catamaran" --version
if [ -n "$missing" ]; then
    echo "Pods need these too:$missing"
    echo "  Debian: apt-get install containerd runc containernetworking-plugins iptables nftables busybox-static"
fi
echo "start a cluster: $prefix/bin/catamaran up, or: systemctl enable --now catamaran"
