"""One module for each extension beyond IMAP4rev2."""
