"""The shell: sockets, TLS, processes and green threads live here and nowhere else."""
