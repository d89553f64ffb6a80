"""What steering does under a planet's load: the process over HTTP, a midnight, feedback from players."""
