"""The only place that knows a vendor: one module each. Vendor errors stop here and become ours."""
