"""Who shall hold what: `placement` decides (pure), `planner` reads and writes S3."""
