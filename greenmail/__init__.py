"""GreenMail: an IMAP4rev2, IMAP4rev1 and POP3 server over Maildir."""

__version__ = "0.1.0"
