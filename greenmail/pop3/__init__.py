"""The POP3 engine: lines in, bytes out, no sockets."""
