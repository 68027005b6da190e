"""GreenMail beside Dovecot on copies of the same Maildirs, in the same run: `python -m bench`."""
