"""The IMAP engine: frames in, bytes out, no sockets."""
