#!/bin/sh
# Unpacks Courier's IMAP and POP3 servers for tests/interop/test_courier.py. Usage: tools/courier.sh DIRECTORY
# Debian does not install them beside Dovecot's (both are an "imap-server"); unpacked, they run from any directory.
set -eu
directory=$1

mkdir -p "$directory"
cd "$directory"
# Of the libraries, those that nothing else in a mail test needs; their names end in a number of the release.
libraries=$(apt-cache depends courier-imap | sed -nE 's/^ *\|?Depends: (lib(courier-unicode|gamin|idn)[0-9][^ ]*)$/\1/p')
for package in courier-base courier-imap courier-pop courier-authlib $libraries; do
    rm -f ./"${package}"_*.deb
    apt-get -qq download "$package"
    dpkg -x ./"${package}"_*.deb .
    rm -f ./"${package}"_*.deb
done
