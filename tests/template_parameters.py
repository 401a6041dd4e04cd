"""Values of the template's parameters: sets that belong together, and a malformed one of each."""

from keyturn.secret import key

KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-4111-8111-111111111111"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:console/session-key-AbCdEf"
ROLE = "arn:aws:iam::123456789012:role/external-secrets"
BOUNDARY = "arn:aws:iam::123456789012:policy/platform/boundary"
EXISTING = {"InitialSessionKey": "", "ExistingSecretArn": SECRET}
PASSWORD = {"RedisPasswordSecret": SECRET}
IAM_LOGIN = {"RedisIamUser": "sessions/keyturn"}
OPERATOR = {"DeliveryMode": "external-secrets", "SyncResource": "session-key"}
VAULT = {
    "DeliveryMode": "vault",
    "VaultAddress": "https://vault.example.com:8200",
    "VaultPath": "secret/data/trading-platform/web-console",
    "VaultAuthMount": "approle",
    "VaultCredentialsSecret": SECRET,
}
VPC = {"SubnetIds": "subnet-0a1b2c3d4e5f60718,subnet-12345678", "SecurityGroupIds": "sg-12345678"}
EVERYTHING = {
    **PASSWORD,
    **VAULT,
    **VPC,
    "KmsKeyArns": KMS_KEY,
    "ConsumerRoles": ROLE,
    "BreakGlassPrincipals": ROLE,
    "RecordBucket": "keyturn-records",
    "SlackWebhookSecret": SECRET,
    "PermissionsBoundary": BOUNDARY,
}
FORMS = [
    ("InitialSessionKey", key.generate_key().base64, key.generate_key().base64[:-4]),
    ("ExistingSecretArn", SECRET, SECRET[:-7]),
    ("KmsKeyArns", f"{KMS_KEY},{KMS_KEY}", "alias/session-key"),
    ("ConsumerRoles", f"{ROLE},arn:aws:iam::123456789012:role/aws-reserved/*", "external"),
    ("BreakGlassPrincipals", "arn:aws:iam::123456789012:user/ana", "arn:aws:iam::1:root"),
    ("RotationSchedule", "cron(0 3 1 * ? *)", "rate(30 days)"),
    ("FindingScopeRoles", f"nodes,{ROLE}", "arn:aws:iam::123456789012:user/ana"),
    ("FindingLimits", "60,3", "60"),
    ("FindingLimits", "1440,15", "1441,15"),
    ("FindingLimits", "0,1", "0,0"),
    ("ClusterName", "prod-1", "prod 1"),
    ("ClusterEndpoint", "https://ab.gr7.eu-central-1.eks.amazonaws.com", "http://cluster"),
    ("ClusterCertificateAuthority", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURQ==", "-----BEGIN"),
    ("Namespace", "web", "Web"),
    ("Services", "web-console,statefulset/auth,rollout/edge", "cronjob/nightly"),
    ("VaultAddress", "https://vault.example.com:8200", "vault.example.com"),
    ("VaultNamespace", "team-a/web", "/team-a"),
    ("VaultPath", "kv/team/data/web-console", "secret/web-console"),
    ("VaultPath", "secret/data/web", "secret/data/a/data/b"),
    ("VaultCertificateAuthority", "LS0tLS1CRUdJTiBD", "/etc/ssl/ca.pem"),
    ("VaultAuthMount", "aws", "auth/aws/"),
    ("VaultRole", "keyturn", "auth/aws/role/keyturn"),
    ("VaultServerId", "vault.example.com", "vault example"),
    ("VaultCredentialsSecret", SECRET, "vault-approle"),
    ("SyncResource", "session-key", "session_key"),
    ("KubernetesSecret", "session.key", "-session"),
    ("KeyField", "SESSION_ENCRYPTION_KEY", "a/b"),
    ("RedisUrl", "rediss://master.sessions.abc.euc1.cache.amazonaws.com:6379/1", "redis.test"),
    ("RedisUrl", "redis://10.0.0.7:6380/15", "rediss://redis.test:6379/16"),
    ("RedisCertificateAuthority", "LS0tLS1CRUdJTiBD", "/etc/ssl/ca.pem"),
    ("RedisPasswordSecret", SECRET, "redis-password"),
    ("RedisIamUser", "sessions/keyturn", "sessions"),
    ("SessionPrefixes", "session:,:1:django.contrib.sessions.cache", "session:,"),
    ("HealthUrls", "https://a/healthz,https://b/healthz", "a/healthz"),
    ("LoginUrl", "https://console.example.com/login", "console.example.com"),
    ("LoginRedirectHosts", "idp.example.com,127.0.0.1:8443", "https://idp.example.com"),
    ("RecordBucket", "keyturn-records", "s3://records"),
    ("EventBus", "default", "a bus"),
    ("SlackWebhookSecret", SECRET, "https://hooks.slack.com/services/x"),
    ("KeyAgeDays", "30,90", "90"),
    ("SubnetIds", "subnet-12345678", "vpc-12345678"),
    ("SecurityGroupIds", "sg-12345678", "default"),
    ("PermissionsBoundary", BOUNDARY, "boundary"),
]
