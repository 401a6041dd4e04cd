# What a rotation may do in Vault, and nothing more. Put the mount and the path of your own secret in
# place of these, then: vault policy write keyturn vault/policy.hcl
# Nothing else is needed, not even Vault's policy "default".

# Read the secret, and write a new version of it on top of the one that was read.
path "secret/data/trading-platform/web-console" {
  capabilities = ["read", "update"]
}

# Find the versions that hold an exposed key, and destroy them.
path "secret/metadata/trading-platform/web-console" {
  capabilities = ["read"]
}
path "secret/destroy/trading-platform/web-console" {
  capabilities = ["update"]
}

# Ask beforehand whether all of this is granted.
path "sys/capabilities-self" {
  capabilities = ["update"]
}
