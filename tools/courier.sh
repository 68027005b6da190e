#!/bin/sh
# Unpacks Courier's IMAP and POP3 servers for tests/interop/test_courier.py. Usage: tools/courier.sh DIRECTORY
# Debian does not install them beside Dovecot's (both are an "imap-server"); unpacked, they run from any directory.
set -eu
directory=$1

mkdir -p "$directory"
cd "$directory"
for package in courier-base courier-imap courier-pop courier-authlib libcourier-unicode4 libgamin0 libidn12; do
    rm -f ./"${package}"_*.deb
    apt-get -qq download "$package"
    dpkg -x ./"${package}"_*.deb .
    rm -f ./"${package}"_*.deb
done
