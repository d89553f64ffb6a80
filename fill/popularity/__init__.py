"""What each region and site is going to watch: from delivery logs in S3 to a table of expected bytes.

    delivery logs --collect--> days (Parquet, in S3) --forecast--> demand table --> `fill plan`

`demand` is the table and `documents` where it lies: the two that `fill plan` reads. `days`, `spool`, `engine` and
`queries` count what was delivered; `units`, `forecast`, `releases` and `backtest` decide, and are pure. What is counted
per object stays here: which appliance then holds it is the business of `fill.planning`.
"""
