"""The rights of a Redis user that docs/operations.md tells operators to grant."""

RIGHTS = ["-@all", "+info", "+ping", "+select", "+scan", "+unlink", "+exists", "+eval"]
FLUSH_RIGHTS = ["+randomkey", "+flushdb"]
CLUSTER_RIGHTS = ["+cluster|slots", "+cluster|nodes"]
