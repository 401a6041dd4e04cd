"""Redis and Valkey: the connection, the credentials, and the session store."""
