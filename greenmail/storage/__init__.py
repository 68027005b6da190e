"""Mail stores. No protocol word in here: IMAP and POP3 both sit on top."""
