"""IMAP commands, one module for each group of RFC sections."""
