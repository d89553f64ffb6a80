"""One source video becomes a title of the catalog.

In order: probe -> choose (from the ladder) -> encode -> delimit -> check -> boxes -> manifests -> upload.
`publish.publish` walks that way; every other file answers one question of it.
"""
