"""Rules about the shape of the project, as tests: units, imports, the wheel, names, what is loaded."""
