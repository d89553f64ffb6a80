"""The agent on an appliance: S3 on one side, the storekeeper's ingest socket on the other.

`agent` carries out the plan; per object `transfer` fetches from S3 and `storekeeper` reserves and commits.
"""
