"""More than one process: what of a batch is computed where, and how the processes of a command agree."""
