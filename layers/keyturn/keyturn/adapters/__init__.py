"""The only package that knows vendors. It translates their errors to `keyturn.errors`."""
