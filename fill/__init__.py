"""Fill: from a source video to bytes on every appliance that shall have them.

publish/   source -> encodes, manifests, catalog, in S3
planning/  catalog and fleet -> one plan per appliance, in S3
agent/     on an appliance: its plan -> objects on its disks, through the storekeeper's socket

May call: `contracts`, `daemon`. Knows nothing of disks or tiers, and never imports oca or steering.
"""
