"""An independent suite of tests for HTTP caches, run against ours and three others.

caches    ours, nginx, Varnish and Traffic Server, each as a shared cache before the suite's origin
suite     the suite: its tests, its origin, its runner; what a run says
origin.mjs, tests.mjs    the suite's origin on the loopback; its tests as JSON
"""
